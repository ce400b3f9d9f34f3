// The losses of preference tuning as functions of log-probabilities, with their slopes; no tensors. Formulas: TRL's
// DPOTrainer, ORPOTrainer and KTOTrainer (Rafailov et al. 2023, Azar et al. 2023, Hong et al. 2024, Ethayarajh et al.
// 2024). Used by step.cpp and reward_step.cpp.
#pragma once

#include <cstdint>
#include <optional>

#include "agents/engine/train/settings.h"

namespace slipway::train {

// One answer: Σ log p of its trained tokens under the model and under the reference, and how many those are.
struct Answer {
  double log_probability = 0, reference = 0;
  int64_t tokens = 0;
};

struct AnswerPair {
  std::optional<Answer> chosen, rejected;
};

struct PairLoss {
  double loss = 0;                                // of this pair, or of each answer of KTO that is there, added
  double chosen_slope = 0, rejected_slope = 0;    // d loss / d log_probability
  double chosen_reward = 0, rejected_reward = 0;  // TRL's metrics rewards/chosen and rewards/rejected
};

// kl: KTO's baseline, see kto_baseline; else unused. ORPO: without the cross entropy of the chosen text, which is added
// per token.
PairLoss preference_loss(const ObjectiveSettings& objective, const AnswerPair& pair, double kl);

// Of a reward model, whose slopes are d loss / d score: -log sigmoid(chosen - rejected), and
// center_rewards_coefficient · (chosen + rejected)². TRL's RewardTrainer.
PairLoss reward_loss(const ObjectiveSettings& objective, double chosen_score, double rejected_score);

// KTO: the mean of the differences of log-probabilities of mismatched answers, at least 0.
double kto_baseline(double sum_of_differences, int64_t count);

}  // namespace slipway::train
