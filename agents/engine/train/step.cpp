#include "agents/engine/train/step.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <utility>

#include "agents/engine/train/data/random.h"

namespace slipway::train {

namespace {

// Tokens that the decoder computes at once on a CPU: enough for its products to run at full speed, few enough that what
// they leave stays small. A GPU takes a whole micro-batch.
constexpr int64_t kTokensAtOnce = 1024;

int64_t tokens_of(const RowSet& set, int64_t row) {
  const Row& documents = set.rows[static_cast<size_t>(row)];
  return std::accumulate(documents.begin(), documents.end(), int64_t{0},
                         [&](int64_t sum, int64_t document) { return sum + set.data->documents.length(document); });
}

int64_t targets_of(const Documents& documents, int64_t document) {
  const std::span<const uint8_t> trained = documents.trained(document);
  return std::count(trained.begin() + 1, trained.end(), uint8_t{1});
}

std::vector<Row> rows_of(const RowSet& set, const std::vector<int64_t>& rows) {
  std::vector<Row> result;
  for (const int64_t row : rows) result.push_back(set.rows[static_cast<size_t>(row)]);
  return result;
}

const Preference& preference_of(const RowSet& set, int64_t row) {
  return set.data->preferences[static_cast<size_t>(set.data->epoch[static_cast<size_t>(row)])];
}

// Σ log p of the trained targets, by the batch's documents.
std::vector<Answer> answers_of(const Batch& batch, std::span<const float> log_probabilities) {
  std::vector<Answer> answers(batch.document_starts.size() - 1);
  for (size_t i = 0; i < batch.targets.size(); ++i) {
    if (batch.target_trained[i] == 0) continue;
    Answer& answer = answers[static_cast<size_t>(batch.target_documents[i])];
    answer.log_probability += log_probabilities[i];
    ++answer.tokens;
  }
  return answers;
}

}  // namespace

RowSet make_row_set(const Dataset& data, bool packing, int64_t max_length) {
  RowSet set{&data, {}};
  if (data.preferences.empty()) {
    set.rows = make_rows(data.documents, data.epoch, packing, max_length);
    return set;
  }
  for (const int64_t pair : data.epoch) {
    const Preference& preference = data.preferences[static_cast<size_t>(pair)];
    Row row;
    if (preference.chosen >= 0) row.push_back(preference.chosen);
    if (preference.rejected >= 0) row.push_back(preference.rejected);
    set.rows.push_back(std::move(row));
  }
  return set;
}

// Sums over the pairs of a step, as ranks add them up.
struct StepRunner::Totals {
  enum Field {
    kLoss,
    kEntropy,
    kKl,
    kChosenReward,
    kRejectedReward,
    kMargins,
    kChosen,
    kRejected,
    kPairs,
    kRight,
    kFields
  };
  std::array<double, kFields> sums{};

  void add(const AnswerPair& pair, const PairLoss& of_pair) {
    sums[kLoss] += of_pair.loss;
    if (pair.chosen) {
      sums[kChosenReward] += of_pair.chosen_reward;
      ++sums[kChosen];
    }
    if (pair.rejected) {
      sums[kRejectedReward] += of_pair.rejected_reward;
      ++sums[kRejected];
    }
    if (!pair.chosen || !pair.rejected) return;
    ++sums[kPairs];
    sums[kMargins] += of_pair.chosen_reward - of_pair.rejected_reward;
    sums[kRight] += of_pair.chosen_reward > of_pair.rejected_reward ? 1 : 0;
  }

  void report(std::map<std::string, double>& metrics) const {
    const auto mean = [&](const char* name, Field sum, Field count) {
      if (sums[count] > 0) metrics[name] = sums[sum] / sums[count];
    };
    mean("rewards/chosen", kChosenReward, kChosen);
    mean("rewards/rejected", kRejectedReward, kRejected);
    mean("rewards/margins", kMargins, kPairs);
    mean("rewards/accuracies", kRight, kPairs);
  }
};

StepRunner::Pieces StepRunner::pieces_of(const RowSet& set, const std::vector<int64_t>& rows) const {
  Pieces pieces;
  int64_t tokens = 0;
  for (const int64_t row : rows) {
    const int64_t more = tokens_of(set, row);
    if (pieces.empty() || (on_cpu_ && tokens + more > kTokensAtOnce)) {
      pieces.emplace_back();
      tokens = 0;
    }
    pieces.back().push_back(row);
    tokens += more;
  }
  return pieces;
}

std::vector<WorkShare> StepRunner::work(const Pieces& micro_batches) const {
  return work_of(micro_batches, ranks_.rank(), ranks_.size(), settings_.objective.type != ObjectiveType::kKto);
}

int64_t StepRunner::pieces_of_rank(const RowSet& set, const Pieces& micro_batches, int64_t rank) const {
  int64_t count = 0;
  for (const WorkShare& share : work_of(micro_batches, rank, ranks_.size(), true)) {
    count += static_cast<int64_t>(pieces_of(set, share.rows).size());
  }
  return count;
}

void StepRunner::keep_up(const RowSet& set, const Pieces& micro_batches, bool train) {
  if (!ranks_.moves_together()) return;
  int64_t most = 0;
  for (int64_t rank = 0; rank < ranks_.size(); ++rank) most = std::max(most, pieces_of_rank(set, micro_batches, rank));
  for (int64_t i = pieces_of_rank(set, micro_batches, ranks_.rank()); i < most; ++i) decoder_.idle(train);
}

StepSeeds StepRunner::seeds(int64_t step, size_t micro_batch, size_t piece) const {
  const auto seed = [&](const char* purpose) {
    return mix_seed(mix_seed(settings_.seed, purpose, static_cast<uint64_t>(step)), "micro batch",
                    micro_batch * 65536 + piece) |
           1U;
  };
  return {settings_.method.lora_dropout > 0 ? seed("dropout") : 0,
          settings_.neftune_noise_alpha > 0 ? seed("noise") : 0};
}

bool StepRunner::supervised(const RowSet& set, const Pieces& micro_batches, int64_t step, bool train,
                            StepResult& result) {
  for (const auto& micro_batch : micro_batches) {
    for (const int64_t row : micro_batch) {
      for (const int64_t document : set.rows[static_cast<size_t>(row)]) {
        result.trained_tokens += targets_of(set.data->documents, document);
      }
      result.tokens += tokens_of(set, row);
    }
  }
  // Weighted by tokens, so that the accumulated gradient is that of one large batch.
  const double scale = 1.0 / static_cast<double>(result.trained_tokens);
  for (const WorkShare& share : work(micro_batches)) {
    const Pieces pieces = pieces_of(set, share.rows);
    for (size_t k = 0; k < pieces.size(); ++k) {
      if (!pause_()) return false;
      const Batch batch = make_batch(set.data->documents, rows_of(set, pieces[k]));
      if (train) {
        result.loss += decoder_.train(batch, scale, seeds(step, share.micro_batch, share.first_piece + k));
      } else {
        for (const float log_probability : decoder_.log_probabilities(batch)) result.loss -= log_probability;
      }
    }
  }
  keep_up(set, micro_batches, train);
  ranks_.add_up(std::span(&result.loss, 1));
  result.loss *= scale;
  return true;
}

// KTO's baseline of one micro-batch, from its mismatched answers.
bool StepRunner::divergence(const RowSet& set, const ReferenceScores& reference, const std::vector<int64_t>& rows,
                            double& kl) {
  double sum = 0;
  int64_t count = 0;
  for (const std::vector<int64_t>& piece : pieces_of(set, rows)) {
    if (!pause_()) return false;
    std::vector<Row> documents;
    for (const Row& row : rows_of(set, piece)) {
      for (const int64_t document : row) {
        const int64_t mismatched = set.data->mismatched[static_cast<size_t>(document)];
        if (targets_of(set.data->documents, mismatched) > 0) documents.push_back({mismatched});
      }
    }
    if (documents.empty()) continue;
    const Batch batch = make_batch(set.data->documents, documents);
    const std::vector<Answer> answers = answers_of(batch, decoder_.log_probabilities(batch));
    for (size_t i = 0; i < answers.size(); ++i) {
      sum += answers[i].log_probability - reference[static_cast<size_t>(documents[i].front())];
      ++count;
    }
  }
  kl = kto_baseline(sum, count);
  return true;
}

bool StepRunner::preferences(const RowSet& set, const ReferenceScores& reference, const Pieces& micro_batches,
                             int64_t step, bool train, StepResult& result) {
  const ObjectiveSettings& objective = settings_.objective;
  const bool adds_entropy = objective.type == ObjectiveType::kOrpo;
  int64_t units = 0, entropy_tokens = 0;
  for (const auto& micro_batch : micro_batches) {
    for (const int64_t row : micro_batch) {
      const Row& documents = set.rows[static_cast<size_t>(row)];
      units += objective.type == ObjectiveType::kKto ? static_cast<int64_t>(documents.size()) : 1;
      for (const int64_t document : documents) result.trained_tokens += targets_of(set.data->documents, document);
      result.tokens += tokens_of(set, row);
      if (adds_entropy) entropy_tokens += set.data->documents.length(preference_of(set, row).chosen) - 1;
    }
  }
  Totals totals;
  for (const WorkShare& share : work(micro_batches)) {
    double kl = 0;
    if (objective.type == ObjectiveType::kKto && !divergence(set, reference, share.rows, kl)) return false;
    totals.sums[Totals::kKl] += kl / static_cast<double>(micro_batches.size());
    const Pieces pieces = pieces_of(set, share.rows);
    for (size_t k = 0; k < pieces.size(); ++k) {
      if (!pause_()) return false;
      std::vector<int64_t> every_token;
      for (const int64_t row : pieces[k]) {
        if (adds_entropy) every_token.push_back(preference_of(set, row).chosen);
      }
      const Batch batch = make_batch(set.data->documents, rows_of(set, pieces[k]), every_token);
      const WeighTargets weigh = [&](std::span<const float> log_probabilities) {
        const std::vector<Answer> answers = answers_of(batch, log_probabilities);
        std::vector<double> slopes(answers.size(), 0.0);
        std::vector<uint8_t> is_chosen(answers.size(), 0);
        size_t at = 0;
        for (const int64_t row : pieces[k]) {
          const Preference& preference = preference_of(set, row);
          AnswerPair pair;
          const auto take = [&](int64_t document) {
            Answer answer = answers[at];
            if (!reference.empty()) answer.reference = reference[static_cast<size_t>(document)];
            return answer;
          };
          const size_t chosen = at;
          if (preference.chosen >= 0) {
            pair.chosen = take(preference.chosen);
            is_chosen[at++] = 1;
          }
          const size_t rejected = at;
          if (preference.rejected >= 0) {
            pair.rejected = take(preference.rejected);
            ++at;
          }
          const PairLoss loss = preference_loss(objective, pair, kl);
          totals.add(pair, loss);
          if (pair.chosen) slopes[chosen] = loss.chosen_slope / static_cast<double>(units);
          if (pair.rejected) slopes[rejected] = loss.rejected_slope / static_cast<double>(units);
        }
        std::vector<float> weights(log_probabilities.size());
        for (size_t t = 0; t < weights.size(); ++t) {
          const auto document = static_cast<size_t>(batch.target_documents[t]);
          double weight = batch.target_trained[t] != 0 ? -slopes[document] : 0.0;
          if (adds_entropy && is_chosen[document] != 0) {
            weight += 1.0 / static_cast<double>(entropy_tokens);
            totals.sums[Totals::kEntropy] -= log_probabilities[t];
          }
          weights[t] = static_cast<float>(weight);
        }
        return weights;
      };
      if (train) {
        decoder_.train_weighted(batch, weigh, seeds(step, share.micro_batch, share.first_piece + k));
      } else {
        static_cast<void>(weigh(decoder_.log_probabilities(batch)));
      }
    }
  }
  keep_up(set, micro_batches, train);
  ranks_.add_up(totals.sums);
  result.loss = totals.sums[Totals::kLoss] / static_cast<double>(units);
  if (adds_entropy) {
    const double entropy = totals.sums[Totals::kEntropy] / static_cast<double>(entropy_tokens);
    result.loss += entropy;
    result.further["nll_loss"] = entropy;
  }
  if (objective.type == ObjectiveType::kKto) result.further["kl"] = totals.sums[Totals::kKl];
  totals.report(result.further);
  return true;
}

bool StepRunner::add_gradient(const RowSet& set, const ReferenceScores& reference,
                              const std::vector<std::vector<int64_t>>& micro_batches, int64_t step,
                              StepResult& result) {
  result = {};
  const bool done = set.data->preferences.empty() ? supervised(set, micro_batches, step, true, result)
                                                  : preferences(set, reference, micro_batches, step, true, result);
  if (done) ranks_.add_up_gradients(decoder_);
  return done;
}

bool StepRunner::evaluate(const RowSet& set, const ReferenceScores& reference, StepResult& result) {
  result = {};
  Pieces batches;
  for (int64_t row = 0; row < set.count(); ++row) {
    if (row % settings_.batch_size == 0) batches.emplace_back();
    batches.back().push_back(row);
  }
  if (set.data->preferences.empty()) return supervised(set, batches, 0, false, result);
  return preferences(set, reference, batches, 0, false, result);
}

bool StepRunner::score_reference(const Dataset& data, ReferenceScores& scores) {
  scores.assign(static_cast<size_t>(data.documents.count()), 0.0);
  // Rank by rank one document; where there is none left, or nothing in it, ranks that move together idle.
  for (int64_t first = 0; first < data.documents.count(); first += ranks_.size()) {
    if (!pause_()) return false;
    const int64_t document = first + ranks_.rank();
    if (document >= data.documents.count() || targets_of(data.documents, document) == 0) {
      if (ranks_.moves_together()) decoder_.idle(false);
      continue;
    }
    const std::vector<Row> rows{{document}};
    const Batch batch = make_batch(data.documents, rows);
    scores[static_cast<size_t>(document)] =
        answers_of(batch, decoder_.log_probabilities(batch)).front().log_probability;
  }
  ranks_.add_up(scores);
  return true;
}

}  // namespace slipway::train
