// Lines of a data file -> tokens, on several threads. Used by dataset.cpp and early_rows.cpp.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "agents/engine/text/training_rows.h"
#include "agents/engine/train/data/dataset.h"
#include "backend/base/error.h"

namespace slipway::train {

// A line, and what became of it.
struct Line {
  int64_t number = 0;  // in its file, from 1
  std::string text;
  std::vector<text::TrainingRow> rows;  // one; of a preference chosen and rejected, either may be empty
  std::optional<base::Error> error;
};

// Fills rows or error of each line; leaves some empty when `stop` becomes true.
void encode_lines(const text::RowEncoder& encoder, bool preferences, int threads, const std::atomic<bool>& stop,
                  std::vector<Line>& lines);

// Cuts to max_length. Returns how many tokens are trained; 0: the row is to be dropped.
int64_t cut_row(const TokenizeOptions& options, text::TrainingRow& row, bool& truncated);

}  // namespace slipway::train
