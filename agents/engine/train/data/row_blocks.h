// An epoch's rows in blocks: each a random sample of all rows, so that rows of one block may be packed and mixed before
// the others are tokenised, without a change to what they are mixed with. Pure. Used by row_set.cpp and early_rows.cpp.
#pragma once

#include <cstdint>
#include <vector>

namespace slipway::train {

class RowBlocks {
 public:
  // Of `rows` rows of the data files, those included that will be dropped. Without shuffle the blocks are in the files'
  // order.
  RowBlocks(int64_t rows, bool shuffle, uint64_t seed);

  int64_t count() const;
  std::vector<int64_t> rows(int64_t block) const;  // ascending

  // Rows of a block. What is no larger than one block is packed and mixed as a whole.
  static constexpr int64_t kRows = 8192;

 private:
  int64_t rows_;
  std::vector<int64_t> order_;  // empty: as they come
};

}  // namespace slipway::train
