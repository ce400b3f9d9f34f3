#include "agents/engine/train/parallel/strength.h"

#include <gtest/gtest.h>

namespace slipway::train {
namespace {

class StrengthOf : public testing::Test {
 protected:
  Strength strength(int64_t fewest, int64_t most) {
    return {fewest, most, [this] { return newest_; }};
  }
  void save(Strength& strength, int64_t checkpoints) {
    for (int64_t i = 0; i < checkpoints; ++i) {
      ++newest_;
      strength.can_grow();
    }
  }
  int64_t newest_ = -1;
};

TEST_F(StrengthOf, ALostRankComesBackAtOnce) {
  Strength four = strength(1, 4);
  four.lose_one();
  EXPECT_EQ(four.size(), 4);
  save(four, 1);
  EXPECT_FALSE(four.can_grow());
  four.lose_one();
  EXPECT_EQ(four.size(), 4);
}

TEST_F(StrengthOf, OneThatIsLostShortlyAfterComesBackAtALaterCheckpointEachTime) {
  Strength four = strength(1, 4);
  four.lose_one();
  for (const int64_t patience : {2, 4, 8}) {
    four.lose_one();
    EXPECT_EQ(four.size(), 3);
    save(four, patience - 1);
    EXPECT_FALSE(four.can_grow());
    save(four, 1);
    EXPECT_TRUE(four.can_grow());
    four.grow();
    EXPECT_EQ(four.size(), 4);
    EXPECT_FALSE(four.can_grow());
  }
}

TEST_F(StrengthOf, WithoutACheckpointBetweenLossesTheyEnd) {
  Strength four = strength(2, 4);
  int64_t losses = 0;
  for (; four.suffices(); ++losses) four.lose_one();
  EXPECT_EQ(losses, 4);
}

TEST_F(StrengthOf, TooFewThatWouldBeLeftAreTooFewAtOnce) {
  Strength two = strength(2, 2);
  save(two, 9);
  two.lose_one();
  EXPECT_FALSE(two.suffices());
}

TEST_F(StrengthOf, ACheckpointThatNobodySawYetCounts) {
  Strength two = strength(1, 2);
  two.lose_one();
  ++newest_;
  two.lose_one();
  EXPECT_EQ(two.size(), 2);
}

}  // namespace
}  // namespace slipway::train
