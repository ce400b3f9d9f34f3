// The slopes of the preference losses against differences of the losses; the losses themselves are compared with TRL's
// formulas in tests/oracle/train/test_preferences.py.
#include "agents/engine/train/objective.h"

#include <gtest/gtest.h>

#include <cmath>

namespace slipway::train {
namespace {

AnswerPair pair_of(double chosen, double rejected) { return {Answer{chosen, -11.0, 7}, Answer{rejected, -9.5, 5}}; }

void expect_slopes(const ObjectiveSettings& objective, double kl) {
  constexpr double kStep = 1e-5, kChosen = -10.2, kRejected = -12.4;
  const auto loss = [&](double chosen, double rejected) {
    return preference_loss(objective, pair_of(chosen, rejected), kl).loss;
  };
  const PairLoss result = preference_loss(objective, pair_of(kChosen, kRejected), kl);
  EXPECT_NEAR(result.chosen_slope, (loss(kChosen + kStep, kRejected) - loss(kChosen - kStep, kRejected)) / (2 * kStep),
              1e-7);
  EXPECT_NEAR(result.rejected_slope,
              (loss(kChosen, kRejected + kStep) - loss(kChosen, kRejected - kStep)) / (2 * kStep), 1e-7);
}

TEST(Objective, SlopesAreTheLossesDerivatives) {
  ObjectiveSettings o;
  o.beta = 0.3;
  for (const ObjectiveType type : {ObjectiveType::kDpo, ObjectiveType::kOrpo, ObjectiveType::kKto}) {
    o.type = type;
    expect_slopes(o, 0.4);
  }
  o.type = ObjectiveType::kDpo;
  o.label_smoothing = 0.2;
  expect_slopes(o, 0);
  o.reference_free = true;
  expect_slopes(o, 0);
  o.ipo = true;
  expect_slopes(o, 0);
}

TEST(Objective, DpoOfEqualAnswersIsTheLogarithmOfTwo) {
  ObjectiveSettings o;
  o.type = ObjectiveType::kDpo;
  EXPECT_NEAR(preference_loss(o, {Answer{-3, -3, 2}, Answer{-4, -4, 2}}, 0).loss, std::log(2.0), 1e-12);
}

TEST(Objective, SlopesOfRewardsAreThoseOfTheLoss) {
  ObjectiveSettings o;
  o.type = ObjectiveType::kReward;
  for (const double coefficient : {0.0, 0.3}) {
    o.center_rewards_coefficient = coefficient;
    constexpr double kStep = 1e-6, kChosen = 0.4, kRejected = -0.7;
    const auto loss = [&](double chosen, double rejected) { return reward_loss(o, chosen, rejected).loss; };
    const PairLoss at = reward_loss(o, kChosen, kRejected);
    EXPECT_NEAR(at.chosen_slope, (loss(kChosen + kStep, kRejected) - at.loss) / kStep, 1e-5);
    EXPECT_NEAR(at.rejected_slope, (loss(kChosen, kRejected + kStep) - at.loss) / kStep, 1e-5);
  }
  EXPECT_NEAR(reward_loss({}, 1, 1).loss, std::log(2.0), 1e-12);
}

TEST(Objective, KtoTakesSingleAnswersAndItsBaselineIsNeverNegative) {
  ObjectiveSettings o;
  o.type = ObjectiveType::kKto;
  o.undesirable_weight = 2;
  EXPECT_NEAR(preference_loss(o, {std::nullopt, Answer{-3, -3, 2}}, 0).loss, 1.0, 1e-12);
  EXPECT_EQ(kto_baseline(-4, 2), 0.0);
  EXPECT_EQ(kto_baseline(4, 2), 2.0);
  EXPECT_EQ(kto_baseline(0, 0), 0.0);
}

}  // namespace
}  // namespace slipway::train
