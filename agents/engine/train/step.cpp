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
// they leave stays small; fewer where masters, gradients and optimizer fill the memory already. A GPU takes a whole
// micro-batch.
int64_t tokens_at_once(MethodType method) { return method == MethodType::kFull ? 512 : 1024; }

// Of answers: their prompt's first token is never trained.
int64_t targets_of(const Documents& documents, int64_t document) { return documents.targets(document, false); }

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
    const auto documents = static_cast<int64_t>(set.row(row).size());
    const int64_t more = set.tokens(row) + documents * set.virtual_tokens;
    if (pieces.empty() || (on_cpu_ && tokens + more > tokens_at_once(settings_.method.type))) {
      pieces.emplace_back();
      tokens = 0;
    }
    pieces.back().push_back(row);
    tokens += more;
  }
  return pieces;
}

std::vector<WorkShare> StepRunner::work(const Pieces& micro_batches, int64_t rank) const {
  return work_of(micro_batches, rank, ranks_.size(), settings_.objective.type != ObjectiveType::kKto);
}

std::vector<WorkShare> StepRunner::work(const Pieces& micro_batches) const {
  return work(micro_batches, ranks_.rank());
}

void StepRunner::keep_up(const Pieces& micro_batches, bool train, const CountBatches& count) {
  if (!ranks_.moves_together()) return;
  const auto batches_of = [&](int64_t rank) {
    int64_t batches = 0;
    for (const WorkShare& share : work(micro_batches, rank)) batches += count(share);
    return batches;
  };
  int64_t most = 0;
  for (int64_t rank = 0; rank < ranks_.size(); ++rank) most = std::max(most, batches_of(rank));
  for (int64_t i = batches_of(ranks_.rank()); i < most; ++i) decoder_.idle(train);
}

void StepRunner::keep_up(const RowSet& set, const Pieces& micro_batches, bool train) {
  keep_up(micro_batches, train,
          [&](const WorkShare& share) { return static_cast<int64_t>(pieces_of(set, share.rows).size()); });
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
      result.trained_tokens += set.targets(row);
      result.tokens += set.tokens(row);
    }
  }
  // Weighted by tokens, so that the accumulated gradient is that of one large batch.
  const double scale = 1.0 / static_cast<double>(result.trained_tokens);
  for (const WorkShare& share : work(micro_batches)) {
    const Pieces pieces = pieces_of(set, share.rows);
    for (size_t k = 0; k < pieces.size(); ++k) {
      if (!pause_()) return false;
      const Batch batch = make_batch(set.data->documents, set.rows_of(pieces[k]), {{}, set.virtual_tokens});
      if (train) {
        result.loss += decoder_.train(batch, scale, seeds(step, share.micro_batch, share.first_piece + k));
      } else {
        for (const float log_probability : decoder_.outcomes(batch)) result.loss -= log_probability;
      }
    }
  }
  keep_up(set, micro_batches, train);
  ranks_.add_up(std::span(&result.loss, 1));
  result.loss *= scale;
  return true;
}

std::vector<Row> StepRunner::mismatched(const RowSet& set, const std::vector<int64_t>& rows) const {
  std::vector<Row> documents;
  for (const Row& row : set.rows_of(rows)) {
    for (const int64_t document : row) {
      const int64_t other = set.data->mismatched[static_cast<size_t>(document)];
      if (targets_of(set.data->documents, other) > 0) documents.push_back({other});
    }
  }
  return documents;
}

// KTO's baseline of one micro-batch, from its mismatched answers.
bool StepRunner::divergence(const RowSet& set, const ReferenceScores& reference, const std::vector<int64_t>& rows,
                            double& kl) {
  double sum = 0;
  int64_t count = 0;
  for (const std::vector<int64_t>& piece : pieces_of(set, rows)) {
    if (!pause_()) return false;
    const std::vector<Row> documents = mismatched(set, piece);
    if (documents.empty()) continue;
    const Batch batch = make_batch(set.data->documents, documents);
    const std::vector<Answer> answers = answers_of(batch, decoder_.outcomes(batch));
    for (size_t i = 0; i < answers.size(); ++i) {
      sum += answers[i].log_probability - reference[static_cast<size_t>(documents[i].front())];
      ++count;
    }
  }
  kl = kto_baseline(sum, count);
  return true;
}

// All of them before the first gradient, so that ranks that move together do the same at the same time.
bool StepRunner::baselines(const RowSet& set, const ReferenceScores& reference, const Pieces& micro_batches,
                           std::vector<double>& kls) {
  if (settings_.objective.type != ObjectiveType::kKto) return true;
  for (const WorkShare& share : work(micro_batches)) {
    if (!divergence(set, reference, share.rows, kls.emplace_back())) return false;
  }
  keep_up(micro_batches, false, [&](const WorkShare& share) {
    const Pieces pieces = pieces_of(set, share.rows);
    return std::count_if(pieces.begin(), pieces.end(),
                         [&](const auto& piece) { return !mismatched(set, piece).empty(); });
  });
  return true;
}

bool StepRunner::preferences(const RowSet& set, const ReferenceScores& reference, const Pieces& micro_batches,
                             int64_t step, bool train, StepResult& result) {
  const ObjectiveSettings& objective = settings_.objective;
  const bool adds_entropy = objective.type == ObjectiveType::kOrpo;
  int64_t units = 0, entropy_tokens = 0;
  for (const auto& micro_batch : micro_batches) {
    for (const int64_t row : micro_batch) {
      units += objective.type == ObjectiveType::kKto ? static_cast<int64_t>(set.row(row).size()) : 1;
      result.trained_tokens += set.targets(row);
      result.tokens += set.tokens(row);
      if (adds_entropy) entropy_tokens += set.data->documents.length(set.preference(row).chosen) - 1;
    }
  }
  std::vector<double> kls;
  if (!baselines(set, reference, micro_batches, kls)) return false;
  Totals totals;
  size_t next_share = 0;
  for (const WorkShare& share : work(micro_batches)) {
    const double kl = kls.empty() ? 0 : kls[next_share++];
    totals.sums[Totals::kKl] += kl / static_cast<double>(micro_batches.size());
    const Pieces pieces = pieces_of(set, share.rows);
    for (size_t k = 0; k < pieces.size(); ++k) {
      if (!pause_()) return false;
      std::vector<int64_t> every_token;
      for (const int64_t row : pieces[k]) {
        if (adds_entropy) every_token.push_back(set.preference(row).chosen);
      }
      const Batch batch = make_batch(set.data->documents, set.rows_of(pieces[k]), {every_token, 0});
      const WeighTargets weigh = [&](std::span<const float> log_probabilities) {
        const std::vector<Answer> answers = answers_of(batch, log_probabilities);
        std::vector<double> slopes(answers.size(), 0.0);
        std::vector<uint8_t> is_chosen(answers.size(), 0);
        size_t at = 0;
        for (const int64_t row : pieces[k]) {
          const Preference& preference = set.preference(row);
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
        static_cast<void>(weigh(decoder_.outcomes(batch)));
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

bool StepRunner::objective(const RowSet& set, const ReferenceScores& reference, const Pieces& micro_batches,
                           int64_t step, bool train, StepResult& result) {
  if (set.data->preferences.empty()) return supervised(set, micro_batches, step, train, result);
  if (settings_.objective.type == ObjectiveType::kReward) return rewards(set, micro_batches, step, train, result);
  return preferences(set, reference, micro_batches, step, train, result);
}

bool StepRunner::add_gradient(const RowSet& set, const ReferenceScores& reference,
                              const std::vector<std::vector<int64_t>>& micro_batches, int64_t step,
                              StepResult& result) {
  result = {};
  const bool done = objective(set, reference, micro_batches, step, true, result);
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
  return objective(set, reference, batches, 0, false, result);
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
    scores[static_cast<size_t>(document)] = answers_of(batch, decoder_.outcomes(batch)).front().log_probability;
  }
  ranks_.add_up(scores);
  return true;
}

}  // namespace slipway::train
