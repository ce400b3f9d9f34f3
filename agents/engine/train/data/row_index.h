// The rows of a data file by their numbers, before all of them have been read. Used by early_rows.cpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "agents/engine/train/data/encode_rows.h"

namespace slipway::train {

// Rows are what text::for_each_line gives, counted from 0. Any thread.
class RowIndex {
 public:
  virtual ~RowIndex() = default;
  virtual int64_t count() const = 0;
  // These rows, ascending. Throws base::Error for a file that cannot be read.
  virtual std::vector<Line> read(const std::vector<int64_t>& rows) const = 0;
};

// Of a JSONL file, found by its line ends alone; of a Parquet file, whose rows it holds a count of, and passes over
// when they are not asked for. Throws base::Error for a file that cannot be read.
std::unique_ptr<const RowIndex> index_rows(const std::filesystem::path& path);

}  // namespace slipway::train
