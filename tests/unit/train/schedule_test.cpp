#include "agents/engine/train/optimizers/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agents/engine/train/data/random.h"
#include "backend/base/error.h"

namespace slipway::train {
namespace {

double factor(ScheduleType type, int64_t step, int64_t warmup, int64_t total) {
  ScheduleSettings settings;
  settings.type = type;
  settings.warmup_steps = warmup;
  return schedule_factor(settings, step, total);
}

TEST(Schedule, ConstantIgnoresWarmupAsTransformersDoes) {
  EXPECT_EQ(factor(ScheduleType::kConstant, 0, 10, 100), 1.0);
  EXPECT_EQ(factor(ScheduleType::kConstantWithWarmup, 5, 10, 100), 0.5);
  EXPECT_EQ(factor(ScheduleType::kConstantWithWarmup, 50, 10, 100), 1.0);
}

TEST(Schedule, LinearRisesFromZeroAndFallsTowardsZero) {
  EXPECT_EQ(factor(ScheduleType::kLinear, 0, 10, 110), 0.0);
  EXPECT_EQ(factor(ScheduleType::kLinear, 10, 10, 110), 1.0);
  EXPECT_DOUBLE_EQ(factor(ScheduleType::kLinear, 85, 10, 110), 0.25);
  EXPECT_EQ(factor(ScheduleType::kLinear, 120, 10, 110), 0.0);
}

TEST(Schedule, CosineIsHalfWayAtHalfTime) {
  EXPECT_EQ(factor(ScheduleType::kCosine, 0, 0, 100), 1.0);
  EXPECT_NEAR(factor(ScheduleType::kCosine, 50, 0, 100), 0.5, 1e-15);
  EXPECT_NEAR(factor(ScheduleType::kCosine, 99, 0, 100), 0.000246719, 1e-9);
}

TEST(Schedule, WarmupStableDecayEndsAtItsLowestRate) {
  ScheduleSettings settings;
  settings.type = ScheduleType::kWarmupStableDecay;
  settings.warmup_steps = 10;
  settings.decay_steps = 20;
  settings.min_lr_ratio = 0.1;
  EXPECT_DOUBLE_EQ(schedule_factor(settings, 5, 100), 0.55);
  EXPECT_EQ(schedule_factor(settings, 10, 100), 1.0);
  EXPECT_EQ(schedule_factor(settings, 80, 100), 1.0);
  EXPECT_NEAR(schedule_factor(settings, 90, 100), 0.55, 1e-12);
  EXPECT_DOUBLE_EQ(schedule_factor(settings, 100, 100), 0.1);
  settings.decay_steps = 0;
  EXPECT_LT(schedule_factor(settings, 81, 100), 1.0) << "a fifth of all steps";
}

TEST(Schedule, AnUnknownNameListsTheKnownOnes) {
  try {
    schedule_type("polynomial");
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_EQ(error.code(), base::kInvalidSpec);
    EXPECT_THAT(error.advice(), testing::HasSubstr("cosine"));
  }
}

TEST(Random, OrdersAreWholeAndDependOnSeedAndEpochAlone) {
  const auto order = shuffled_order(100, mix_seed(42, "shuffle", 0));
  EXPECT_THAT(std::vector<int64_t>(order), testing::UnorderedElementsAreArray(shuffled_order(100, 1)));
  EXPECT_EQ(order, shuffled_order(100, mix_seed(42, "shuffle", 0)));
  EXPECT_NE(order, shuffled_order(100, mix_seed(42, "shuffle", 1)));
  EXPECT_NE(order, shuffled_order(100, mix_seed(43, "shuffle", 0)));
  EXPECT_NE(mix_seed(42, "shuffle", 0), mix_seed(42, "dropout", 0));
}

TEST(Random, NumbersStayTheSameInEveryVersion) {
  // SplitMix64's published first outputs for the seed 1234567.
  Random random(1234567);
  EXPECT_EQ(random.next(), 6457827717110365317ULL);
  EXPECT_EQ(random.next(), 3203168211198807973ULL);
  EXPECT_EQ(shuffled_order(5, 7), shuffled_order(5, 7));
}

TEST(Random, UniformStaysBelowOneAndIsEven) {
  Random random(3);
  double sum = 0;
  for (int i = 0; i < 10000; ++i) {
    const float value = random.uniform();
    ASSERT_GE(value, 0.0F);
    ASSERT_LT(value, 1.0F);
    sum += value;
  }
  EXPECT_NEAR(sum / 10000, 0.5, 0.01);
}

}  // namespace
}  // namespace slipway::train
