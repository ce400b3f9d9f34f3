#include "agents/engine/prep/near_duplicates.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>

#include "backend/base/files.h"

namespace slipway::prep {
namespace {

class NearDuplicatesTest : public ::testing::Test {
 protected:
  // `words` random words.
  std::string text(int words) {
    std::string result;
    for (int i = 0; i < words; ++i) {
      for (int c = 0; c < 6; ++c) result += static_cast<char>('a' + random_() % 26);
      result += ' ';
    }
    result.pop_back();
    return result;
  }
  base::TemporaryFolder folder_;
  std::mt19937 random_{7};
};

TEST_F(NearDuplicatesTest, ExactJaccardDecidesAtTheThreshold) {
  NearDuplicates texts({.threshold = 0.5, .unit = NgramUnit::kWord, .ngram_size = 1}, folder_.path());
  EXPECT_FALSE(texts.find_or_add("a b c d", 1));
  EXPECT_FALSE(texts.find_or_add("a b x y", 2));               // 2 of 6
  const auto match = texts.find_or_add("a b c d e f g h", 3);  // 4 of 8
  ASSERT_TRUE(match);
  EXPECT_EQ(match->id, 1);
  EXPECT_DOUBLE_EQ(match->similarity, 0.5);
}

TEST_F(NearDuplicatesTest, FindsPlantedCopiesAmongStrangersAsBruteForceDoes) {
  const NearDuplicateOptions options{.threshold = 0.8, .unit = NgramUnit::kCharacter, .ngram_size = 5};
  NearDuplicates texts(options, folder_.path());
  std::vector<std::vector<uint64_t>> kept;
  int copies = 0;
  int missed = 0;
  std::vector<std::string> originals;
  for (int i = 0; i < 400; ++i) {
    std::string candidate = text(40);
    if (i % 4 == 3) {  // an earlier text with a few letters changed
      candidate = originals[random_() % originals.size()];
      for (unsigned n = 0; n < 1 + random_() % 8; ++n) candidate[random_() % candidate.size()] = 'q';
    }
    originals.push_back(candidate);
    const std::vector<uint64_t> set = texts.ngrams(candidate);
    bool expected = false;
    for (const auto& other : kept) expected = expected || jaccard(set, other) >= options.threshold;
    const bool found = texts.find_or_add(candidate, i).has_value();
    EXPECT_LE(found, expected) << "text " << i << " is no copy";  // never a false alarm
    if (expected) ++copies;
    if (expected && !found) ++missed;
    if (!found) kept.push_back(set);
  }
  EXPECT_GT(copies, 50);
  EXPECT_LE(missed, 2);
}

TEST_F(NearDuplicatesTest, ShortTextsAreComparedAsAWhole) {
  NearDuplicates texts({}, folder_.path());
  EXPECT_FALSE(texts.find_or_add("yes", 1));
  EXPECT_FALSE(texts.find_or_add("no", 2));
  EXPECT_TRUE(texts.find_or_add("yes", 3));
  EXPECT_FALSE(texts.find_or_add("", 4));
  EXPECT_FALSE(texts.find_or_add("", 5));
}

TEST_F(NearDuplicatesTest, BandingProposesPairsAtTheThreshold) {
  for (const double threshold : {0.3, 0.5, 0.8, 0.95, 1.0}) {
    const Banding banding = choose_banding(threshold);
    EXPECT_LE(banding.bands * banding.rows, 128);
    EXPECT_GE(1 - std::pow(1 - std::pow(threshold, banding.rows), banding.bands), 0.995) << threshold;
  }
}

}  // namespace
}  // namespace slipway::prep
