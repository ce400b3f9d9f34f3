// A reward model's part of a step: scores of both answers of each pair, and the gradient of their loss.
#include <algorithm>
#include <array>
#include <limits>

#include "agents/engine/train/step.h"

namespace slipway::train {

namespace {

// Sums over the pairs of a step, as ranks add them up, and what they find lowest and highest.
struct RewardTotals {
  enum Field { kLoss, kRight, kMargins, kScores, kFields };
  std::array<double, kFields> sums{};
  double lowest = std::numeric_limits<double>::infinity(), highest = -lowest;

  void add(double chosen, double rejected, double loss) {
    sums[kLoss] += loss;
    sums[kRight] += chosen > rejected ? 1 : 0;
    sums[kMargins] += chosen - rejected;
    sums[kScores] += chosen + rejected;
    lowest = std::min({lowest, chosen, rejected});
    highest = std::max({highest, chosen, rejected});
  }

  // As TRL's RewardTrainer names them.
  void report(Ranks& ranks, double pairs, StepResult& result) {
    ranks.add_up(sums);
    const std::vector<double> lows = ranks.of_each(lowest), highs = ranks.of_each(highest);
    result.loss = sums[kLoss] / pairs;
    result.further = {{"accuracy", sums[kRight] / pairs},
                      {"margin", sums[kMargins] / pairs},
                      {"mean_reward", sums[kScores] / (2 * pairs)},
                      {"min_reward", *std::min_element(lows.begin(), lows.end())},
                      {"max_reward", *std::max_element(highs.begin(), highs.end())}};
  }
};

}  // namespace

bool StepRunner::rewards(const RowSet& set, const Pieces& micro_batches, int64_t step, bool train, StepResult& result) {
  int64_t pairs = 0;
  for (const auto& micro_batch : micro_batches) {
    pairs += static_cast<int64_t>(micro_batch.size());
    for (const int64_t row : micro_batch) {
      result.tokens += set.tokens(row);
      result.trained_tokens += set.targets(row);
    }
  }
  RewardTotals totals;
  for (const WorkShare& share : work(micro_batches)) {
    const Pieces pieces = pieces_of(set, share.rows);
    for (size_t k = 0; k < pieces.size(); ++k) {
      if (!pause_()) return false;
      const Batch batch = make_scored_batch(set.data->documents, set.rows_of(pieces[k]), set.padding_token);
      // Chosen and rejected take turns.
      const WeighTargets weigh = [&](std::span<const float> scores) {
        std::vector<float> slopes(scores.size());
        for (size_t i = 0; i + 1 < scores.size(); i += 2) {
          const PairLoss loss = reward_loss(settings_.objective, scores[i], scores[i + 1]);
          totals.add(scores[i], scores[i + 1], loss.loss);
          slopes[i] = static_cast<float>(loss.chosen_slope / static_cast<double>(pairs));
          slopes[i + 1] = static_cast<float>(loss.rejected_slope / static_cast<double>(pairs));
        }
        return slopes;
      };
      if (train) {
        decoder_.train_weighted(batch, weigh, seeds(step, share.micro_batch, share.first_piece + k));
      } else {
        static_cast<void>(weigh(decoder_.outcomes(batch)));
      }
    }
  }
  keep_up(set, micro_batches, train);
  totals.report(ranks_, static_cast<double>(pairs), result);
  return true;
}

}  // namespace slipway::train
