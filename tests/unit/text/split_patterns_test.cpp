// The scanners cut text where the regular expressions that they stand for would.
#include "agents/engine/text/split_patterns.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace slipway::text {
namespace {

std::vector<ByteRange> scanned(const char* pattern, const std::string& text) {
  std::vector<ByteRange> matches;
  find_scanner(pattern)(text, matches);
  return matches;
}

TEST(SplitPatterns, AgreeWithTheRegularExpressions) {
  const std::vector<std::string> alphabet = {
      "a", "B", "z", "s",      "S",       "t",      "re",     "LL",       "d",  "'",     "'",  "1", "23",
      "9", " ", " ", "  ",     "\n",      "\r",     "\r\n",   "\t",       ".",  "!",     "-",  "_", "\"",
      "é", "ß", "ſ", "\u00A0", "\u3000",  "\u2028", "\u0085", "漢",       "字", "か",    "한", "ب", "א",
      "²", "½", "٣", "Ⅷ",      "e\u0301", "\u200D", "🙂",   "👍🏽", "€",  "\u0000"};
  std::mt19937 generator(5);
  std::uniform_int_distribution<size_t> pick(0, alphabet.size() - 1), length(0, 24);
  for (const char* pattern : {kGpt2Pattern, kLlama3Pattern, kQwen2Pattern}) {
    const Regex regex(pattern, "pattern");
    for (int round = 0; round < 20000; ++round) {
      std::string text;
      for (size_t count = length(generator); count > 0; --count) text += alphabet[pick(generator)];
      ASSERT_EQ(scanned(pattern, text), regex.find_all(text)) << pattern << "\n" << testing::PrintToString(text);
    }
  }
}

TEST(SplitPatterns, KnowExactlyTheirPatterns) {
  EXPECT_EQ(find_scanner(R"(\p{L}+)"), nullptr);
  EXPECT_EQ(scanned(kGpt2Pattern, "").size(), 0U);
  EXPECT_EQ(scanned(kLlama3Pattern, "12345"), (std::vector<ByteRange>{{0, 3}, {3, 5}}));
  EXPECT_EQ(scanned(kQwen2Pattern, "we'LL\n\n x"), (std::vector<ByteRange>{{0, 2}, {2, 5}, {5, 7}, {7, 9}}));
}

TEST(SplitPatterns, DigitsAreNumbersOfAllScripts) {
  std::vector<ByteRange> matches;
  scan_digits("a1½ x٣", matches);
  EXPECT_EQ(matches, (std::vector<ByteRange>{{1, 2}, {2, 4}, {6, 8}}));
}

}  // namespace
}  // namespace slipway::text
