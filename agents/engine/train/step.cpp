#include "agents/engine/train/step.h"

#include <algorithm>
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
  const auto begin = documents.trained.begin() + documents.offsets[static_cast<size_t>(document)];
  return std::count(begin + 1, begin + documents.length(document), uint8_t{1});
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

// Sums over the pairs of a step.
struct Totals {
  double loss = 0, entropy = 0, kl = 0, chosen_reward = 0, rejected_reward = 0, margins = 0;
  int64_t chosen = 0, rejected = 0, pairs = 0, right = 0;

  void add(const AnswerPair& pair, const PairLoss& of_pair) {
    loss += of_pair.loss;
    if (pair.chosen) {
      chosen_reward += of_pair.chosen_reward;
      ++chosen;
    }
    if (pair.rejected) {
      rejected_reward += of_pair.rejected_reward;
      ++rejected;
    }
    if (!pair.chosen || !pair.rejected) return;
    ++pairs;
    margins += of_pair.chosen_reward - of_pair.rejected_reward;
    right += of_pair.chosen_reward > of_pair.rejected_reward ? 1 : 0;
  }

  void report(std::map<std::string, double>& metrics) const {
    const auto mean = [&](const char* name, double sum, int64_t count) {
      if (count > 0) metrics[name] = sum / static_cast<double>(count);
    };
    mean("rewards/chosen", chosen_reward, chosen);
    mean("rewards/rejected", rejected_reward, rejected);
    mean("rewards/margins", margins, pairs);
    mean("rewards/accuracies", static_cast<double>(right), pairs);
  }
};

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
  for (size_t i = 0; i < micro_batches.size(); ++i) {
    const Pieces pieces = pieces_of(set, micro_batches[i]);
    for (size_t k = 0; k < pieces.size(); ++k) {
      if (!pause_()) return false;
      const Batch batch = make_batch(set.data->documents, rows_of(set, pieces[k]));
      if (train) {
        result.loss += decoder_.train(batch, scale, seeds(step, i, k));
      } else {
        for (const float log_probability : decoder_.log_probabilities(batch)) result.loss -= log_probability;
      }
    }
  }
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
  for (size_t i = 0; i < micro_batches.size(); ++i) {
    double kl = 0;
    if (objective.type == ObjectiveType::kKto && !divergence(set, reference, micro_batches[i], kl)) return false;
    totals.kl += kl / static_cast<double>(micro_batches.size());
    const Pieces pieces = pieces_of(set, micro_batches[i]);
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
            totals.entropy -= log_probabilities[t];
          }
          weights[t] = static_cast<float>(weight);
        }
        return weights;
      };
      if (train) {
        decoder_.train_weighted(batch, weigh, seeds(step, i, k));
      } else {
        static_cast<void>(weigh(decoder_.log_probabilities(batch)));
      }
    }
  }
  result.loss = totals.loss / static_cast<double>(units);
  if (adds_entropy) {
    const double entropy = totals.entropy / static_cast<double>(entropy_tokens);
    result.loss += entropy;
    result.further["nll_loss"] = entropy;
  }
  if (objective.type == ObjectiveType::kKto) result.further["kl"] = totals.kl;
  totals.report(result.further);
  return true;
}

bool StepRunner::add_gradient(const RowSet& set, const ReferenceScores& reference,
                              const std::vector<std::vector<int64_t>>& micro_batches, int64_t step,
                              StepResult& result) {
  result = {};
  if (set.data->preferences.empty()) return supervised(set, micro_batches, step, true, result);
  return preferences(set, reference, micro_batches, step, true, result);
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
  for (int64_t document = 0; document < data.documents.count(); ++document) {
    if (!pause_()) return false;
    if (targets_of(data.documents, document) == 0) continue;
    const std::vector<Row> rows{{document}};
    const Batch batch = make_batch(data.documents, rows);
    scores[static_cast<size_t>(document)] =
        answers_of(batch, decoder_.log_probabilities(batch)).front().log_probability;
  }
  return true;
}

}  // namespace slipway::train
