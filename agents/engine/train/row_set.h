// A data set as the rows that steps are made of. Used by step.cpp, reward_step.cpp, prepare.cpp and plan.cpp.
#pragma once

#include <cstdint>
#include <vector>

#include "agents/engine/train/data/dataset.h"
#include "agents/engine/train/settings.h"

namespace slipway::train {

// Rows of documents; of preferences a row holds a pair: chosen, then rejected, where they are there.
struct RowSet {
  const Dataset* data = nullptr;
  std::vector<Row> rows;
  int64_t virtual_tokens = 0;   // before each document
  int32_t padding_token = -1;   // of a reward model: where it is, no score is read
  std::vector<int64_t> blocks;  // rows of each block, one after the other; see data/row_blocks.h

  int64_t count() const { return static_cast<int64_t>(rows.size()); }
  const Row& row(int64_t index) const { return rows[static_cast<size_t>(index)]; }
  std::vector<Row> rows_of(const std::vector<int64_t>& indices) const;
  const Preference& preference(int64_t row) const {
    return data->preferences[static_cast<size_t>(data->epoch[static_cast<size_t>(row)])];
  }
  // Tokens of a row's documents, and how many of them are trained; virtual ones do not count.
  int64_t tokens(int64_t row) const;
  int64_t targets(int64_t row) const;
};

// The rows of a further block, which holds these documents.
void add_block(RowSet& set, const std::vector<int64_t>& documents, const TrainSettings& settings);

RowSet make_row_set(const Dataset& data, const TrainSettings& settings, int32_t padding_token);

}  // namespace slipway::train
