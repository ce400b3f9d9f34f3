#include "agents/engine/train/data/row_blocks.h"

#include <algorithm>
#include <numeric>

#include "agents/engine/train/data/random.h"

namespace slipway::train {

RowBlocks::RowBlocks(int64_t rows, bool shuffle, uint64_t seed) : rows_(rows) {
  if (shuffle && rows > kRows) order_ = shuffled_order(rows, mix_seed(seed, "blocks"));
}

int64_t RowBlocks::count() const { return (rows_ + kRows - 1) / kRows; }

std::vector<int64_t> RowBlocks::rows(int64_t block) const {
  const int64_t begin = block * kRows, end = std::min(begin + kRows, rows_);
  std::vector<int64_t> result(static_cast<size_t>(end - begin));
  if (order_.empty()) {
    std::iota(result.begin(), result.end(), begin);
    return result;
  }
  std::copy(order_.begin() + begin, order_.begin() + end, result.begin());
  std::sort(result.begin(), result.end());
  return result;
}

}  // namespace slipway::train
