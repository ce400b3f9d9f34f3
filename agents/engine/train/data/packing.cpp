#include "agents/engine/train/data/packing.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <utility>

#include "agents/engine/train/data/random.h"

namespace slipway::train {

std::vector<Row> make_rows(const Documents& documents, const std::vector<int64_t>& chosen, bool packing,
                           int64_t max_length, int64_t virtual_tokens) {
  std::vector<Row> rows;
  std::vector<int64_t> order = chosen;
  if (!packing) {
    for (const int64_t document : order) rows.push_back({document});
    return rows;
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return documents.length(a) > documents.length(b); });
  const int64_t room = max_length + virtual_tokens;
  std::set<std::pair<int64_t, size_t>> space;  // (free tokens, row)
  for (const int64_t document : order) {
    const int64_t length = documents.length(document) + virtual_tokens;
    const auto best = space.lower_bound({length, 0});
    if (best == space.end()) {
      if (length < room) space.insert({room - length, rows.size()});
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

Batch make_batch(const Documents& documents, std::span<const Row> rows, const BatchOptions& options) {
  Batch batch;
  batch.virtual_tokens = options.virtual_tokens;
  const auto add_token = [&](int32_t token, int64_t position) {
    batch.tokens.push_back(token);
    batch.positions.push_back(position);
  };
  for (const Row& row : rows) {
    for (const int64_t document : row) {
      const std::span<const int32_t> tokens = documents.tokens(document);
      const std::span<const uint8_t> marks = documents.trained(document);
      const bool all =
          std::find(options.every_token.begin(), options.every_token.end(), document) != options.every_token.end();
      const auto place = static_cast<int64_t>(batch.document_starts.size());
      batch.document_starts.push_back(static_cast<int64_t>(batch.tokens.size()));
      batch.tasks.push_back(documents.task(document));
      for (int64_t i = 0; i < options.virtual_tokens; ++i) add_token(0, i);
      for (size_t i = 0; i < tokens.size(); ++i) {
        const bool trained = marks[i] != 0, predicted = i > 0 || options.virtual_tokens > 0;
        if (predicted && (trained || all)) {
          batch.target_rows.push_back(static_cast<int64_t>(batch.tokens.size()) - 1);
          batch.targets.push_back(tokens[i]);
          batch.target_documents.push_back(place);
          batch.target_trained.push_back(trained ? 1 : 0);
        }
        add_token(tokens[i], options.virtual_tokens + static_cast<int64_t>(i));
      }
    }
  }
  batch.document_starts.push_back(static_cast<int64_t>(batch.tokens.size()));
  return batch;
}

Batch make_scored_batch(const Documents& documents, std::span<const Row> rows, int32_t padding_token) {
  Batch batch = make_batch(documents, rows);
  batch.target_rows.clear();
  batch.targets.clear();
  batch.target_documents.clear();
  batch.target_trained.clear();
  for (size_t i = 0; i + 1 < batch.document_starts.size(); ++i) {
    const int64_t begin = batch.document_starts[i];
    int64_t last = batch.document_starts[i + 1] - 1;
    while (last > begin && batch.tokens[static_cast<size_t>(last)] == padding_token) --last;
    batch.target_rows.push_back(last);
  }
  return batch;
}

StepPlan::StepPlan(int64_t batch_size, int64_t accumulation_steps, bool shuffle, uint64_t seed)
    : batch_size_(batch_size), rows_per_step_(batch_size * accumulation_steps), shuffle_(shuffle), seed_(seed) {}

void StepPlan::add_block(int64_t rows) {
  blocks_.push_back(row_count_);
  row_count_ += rows;
  epoch_ = -1;
}

void StepPlan::complete() { complete_ = true; }

void StepPlan::make_order(int64_t epoch) {
  if (epoch == epoch_) return;
  epoch_ = epoch;
  order_.clear();
  const uint64_t seed = mix_seed(seed_, "shuffle", static_cast<uint64_t>(epoch));
  if (shuffle_ && epoch > 0) {
    order_ = shuffled_order(row_count_, seed);
  } else if (shuffle_) {
    for (size_t block = 0; block < blocks_.size(); ++block) {
      const int64_t begin = blocks_[block], end = block + 1 < blocks_.size() ? blocks_[block + 1] : row_count_;
      for (const int64_t row : shuffled_order(end - begin, block == 0 ? seed : mix_seed(seed, "block", block))) {
        order_.push_back(begin + row);
      }
    }
  } else {
    order_.resize(static_cast<size_t>(row_count_));
    std::iota(order_.begin(), order_.end(), 0);
  }
}

std::vector<std::vector<int64_t>> StepPlan::micro_batches(int64_t step) {
  // Before all blocks are known no step is asked for that is not of the first epoch.
  const int64_t epoch = complete_ ? step / steps_per_epoch() : 0;
  make_order(epoch);
  const int64_t begin = (complete_ ? step % steps_per_epoch() : step) * rows_per_step_;
  const int64_t end = std::min(begin + rows_per_step_, row_count_);
  std::vector<std::vector<int64_t>> result;
  for (int64_t i = begin; i < end; i += batch_size_) {
    result.emplace_back(order_.begin() + i, order_.begin() + std::min(i + batch_size_, end));
  }
  return result;
}

}  // namespace slipway::train
