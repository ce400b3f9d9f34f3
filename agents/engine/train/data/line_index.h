// Where the rows of a JSONL file are, found by its line ends alone. Used by early_rows.cpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

#include "agents/engine/model/mapped_file.h"

namespace slipway::train {

// Rows are lines that are not blank, as for text::for_each_line. Any thread.
class LineIndex {
 public:
  // Throws base::Error for a file that cannot be read.
  explicit LineIndex(const std::filesystem::path& path);

  int64_t count() const { return static_cast<int64_t>(begins_.size()); }
  std::string_view text(int64_t row) const;
  int64_t number(int64_t row) const { return numbers_[static_cast<size_t>(row)]; }  // of the line, from 1

 private:
  model::MappedFile file_;
  std::vector<int64_t> begins_, numbers_;
};

}  // namespace slipway::train
