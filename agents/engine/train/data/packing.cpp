#include "agents/engine/train/data/packing.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <utility>

#include "agents/engine/train/data/random.h"

namespace slipway::train {

std::vector<Row> make_rows(const Documents& documents, const std::vector<int64_t>& chosen, bool packing,
                           int64_t max_length) {
  std::vector<Row> rows;
  std::vector<int64_t> order = chosen;
  if (!packing) {
    for (const int64_t document : order) rows.push_back({document});
    return rows;
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return documents.length(a) > documents.length(b); });
  std::set<std::pair<int64_t, size_t>> space;  // (free tokens, row)
  for (const int64_t document : order) {
    const int64_t length = documents.length(document);
    const auto best = space.lower_bound({length, 0});
    if (best == space.end()) {
      if (length < max_length) space.insert({max_length - length, rows.size()});
      rows.push_back({document});
      continue;
    }
    const auto [free_tokens, row] = *best;
    space.erase(best);
    rows[row].push_back(document);
    if (free_tokens > length) space.insert({free_tokens - length, row});
  }
  return rows;
}

Batch make_batch(const Documents& documents, std::span<const Row> rows, const std::vector<int64_t>& every_token) {
  Batch batch;
  for (const Row& row : rows) {
    for (const int64_t document : row) {
      const std::span<const int32_t> tokens = documents.tokens(document);
      const std::span<const uint8_t> marks = documents.trained(document);
      const auto length = static_cast<int64_t>(tokens.size());
      const bool all = std::find(every_token.begin(), every_token.end(), document) != every_token.end();
      const auto place = static_cast<int64_t>(batch.document_starts.size());
      batch.document_starts.push_back(static_cast<int64_t>(batch.tokens.size()));
      for (int64_t i = 0; i < length; ++i) {
        const bool trained = i + 1 < length && marks[static_cast<size_t>(i) + 1] != 0;
        if (trained || (all && i + 1 < length)) {
          batch.target_rows.push_back(static_cast<int64_t>(batch.tokens.size()));
          batch.targets.push_back(tokens[static_cast<size_t>(i) + 1]);
          batch.target_documents.push_back(place);
          batch.target_trained.push_back(trained ? 1 : 0);
        }
        batch.tokens.push_back(tokens[static_cast<size_t>(i)]);
        batch.positions.push_back(i);
      }
    }
  }
  batch.document_starts.push_back(static_cast<int64_t>(batch.tokens.size()));
  return batch;
}

StepPlan::StepPlan(int64_t row_count, int64_t batch_size, int64_t accumulation_steps, bool shuffle, uint64_t seed)
    : row_count_(row_count),
      batch_size_(batch_size),
      rows_per_step_(batch_size * accumulation_steps),
      steps_per_epoch_((row_count + rows_per_step_ - 1) / rows_per_step_),
      shuffle_(shuffle),
      seed_(seed) {}

std::vector<std::vector<int64_t>> StepPlan::micro_batches(int64_t step) {
  const int64_t epoch = step / steps_per_epoch_;
  if (epoch != epoch_) {
    if (shuffle_) {
      order_ = shuffled_order(row_count_, mix_seed(seed_, "shuffle", static_cast<uint64_t>(epoch)));
    } else {
      order_.resize(static_cast<size_t>(row_count_));
      std::iota(order_.begin(), order_.end(), 0);
    }
    epoch_ = epoch;
  }
  const int64_t begin = (step % steps_per_epoch_) * rows_per_step_;
  const int64_t end = std::min(begin + rows_per_step_, row_count_);
  std::vector<std::vector<int64_t>> result;
  for (int64_t i = begin; i < end; i += batch_size_) {
    result.emplace_back(order_.begin() + i, order_.begin() + std::min(i + batch_size_, end));
  }
  return result;
}

}  // namespace slipway::train
