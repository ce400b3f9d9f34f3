#include "agents/engine/train/objective.h"

#include <algorithm>
#include <cmath>

namespace slipway::train {

namespace {

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

double log_sigmoid(double x) { return x >= 0 ? -std::log1p(std::exp(-x)) : x - std::log1p(std::exp(x)); }

PairLoss dpo(const ObjectiveSettings& o, const Answer& chosen, const Answer& rejected) {
  // IPO compares means over tokens, as TRL does since it found that the paper's authors do.
  const auto measure = [&](const Answer& a) {
    const double length = o.ipo ? static_cast<double>(a.tokens) : 1.0;
    return (a.log_probability - (o.reference_free ? 0.0 : a.reference)) / length;
  };
  const double logits = measure(chosen) - measure(rejected);
  PairLoss result;
  double slope = 0;  // d loss / d logits
  if (o.ipo) {
    const double distance = logits - 1.0 / (2.0 * o.beta);
    result.loss = distance * distance;
    slope = 2.0 * distance;
  } else {
    const double smoothing = o.label_smoothing;
    result.loss = -(1.0 - smoothing) * log_sigmoid(o.beta * logits) - smoothing * log_sigmoid(-o.beta * logits);
    slope = o.beta * (smoothing * sigmoid(o.beta * logits) - (1.0 - smoothing) * sigmoid(-o.beta * logits));
  }
  result.chosen_slope = slope / (o.ipo ? static_cast<double>(chosen.tokens) : 1.0);
  result.rejected_slope = -slope / (o.ipo ? static_cast<double>(rejected.tokens) : 1.0);
  result.chosen_reward = o.beta * measure(chosen);
  result.rejected_reward = o.beta * measure(rejected);
  return result;
}

PairLoss orpo(const ObjectiveSettings& o, const Answer& chosen, const Answer& rejected) {
  const double c = chosen.log_probability / static_cast<double>(chosen.tokens);
  const double r = rejected.log_probability / static_cast<double>(rejected.tokens);
  const auto log_odds = [](double log_p) { return log_p - std::log1p(-std::exp(log_p)); };
  const double ratio = log_odds(c) - log_odds(r);
  PairLoss result;
  result.loss = -o.beta * log_sigmoid(ratio);
  const double slope = -o.beta * sigmoid(-ratio);
  result.chosen_slope = slope / (1.0 - std::exp(c)) / static_cast<double>(chosen.tokens);
  result.rejected_slope = -slope / (1.0 - std::exp(r)) / static_cast<double>(rejected.tokens);
  result.chosen_reward = o.beta * c;
  result.rejected_reward = o.beta * r;
  return result;
}

PairLoss kto(const ObjectiveSettings& o, const AnswerPair& pair, double kl) {
  PairLoss result;
  if (pair.chosen) {
    const double ratio = pair.chosen->log_probability - pair.chosen->reference;
    const double value = sigmoid(o.beta * (ratio - kl));
    result.loss += o.desirable_weight * (1.0 - value);
    result.chosen_slope = -o.desirable_weight * o.beta * value * (1.0 - value);
    result.chosen_reward = o.beta * ratio;
  }
  if (pair.rejected) {
    const double ratio = pair.rejected->log_probability - pair.rejected->reference;
    const double value = sigmoid(o.beta * (kl - ratio));
    result.loss += o.undesirable_weight * (1.0 - value);
    result.rejected_slope = o.undesirable_weight * o.beta * value * (1.0 - value);
    result.rejected_reward = o.beta * ratio;
  }
  return result;
}

}  // namespace

PairLoss preference_loss(const ObjectiveSettings& objective, const AnswerPair& pair, double kl) {
  switch (objective.type) {
    case ObjectiveType::kDpo:
      return dpo(objective, *pair.chosen, *pair.rejected);
    case ObjectiveType::kOrpo:
      return orpo(objective, *pair.chosen, *pair.rejected);
    case ObjectiveType::kKto:
      return kto(objective, pair, kl);
    case ObjectiveType::kSupervised:
    case ObjectiveType::kReward:
      break;
  }
  return {};
}

PairLoss reward_loss(const ObjectiveSettings& objective, double chosen_score, double rejected_score) {
  const double margin = chosen_score - rejected_score, sum = chosen_score + rejected_score;
  const double coefficient = objective.center_rewards_coefficient;
  PairLoss result;
  result.loss = -log_sigmoid(margin) + coefficient * sum * sum;
  result.chosen_slope = -sigmoid(-margin) + 2.0 * coefficient * sum;
  result.rejected_slope = sigmoid(-margin) + 2.0 * coefficient * sum;
  result.chosen_reward = chosen_score;
  result.rejected_reward = rejected_score;
  return result;
}

double kto_baseline(double sum_of_differences, int64_t count) {
  return count == 0 ? 0.0 : std::max(0.0, sum_of_differences / static_cast<double>(count));
}

}  // namespace slipway::train
