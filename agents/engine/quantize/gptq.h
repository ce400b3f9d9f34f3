// Four-bit weights that make up for each other's rounding on given inputs: GPTQ (Frantar et al., arXiv 2210.17323),
// with columns in the order of how much they are used, and the grid of each block chosen beforehand. Used by
// calibration.cpp.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "agents/engine/runtime/matrix.h"
#include "agents/engine/runtime/thread_pool.h"

namespace slipway::quantize {

// What inputs of a layer say about its weights: from Σ x xᵀ over all of them.
class Importance {
 public:
  // sums: [width, width], symmetric, its lower half filled. A hundredth of the mean diagonal is added to the diagonal,
  // so that columns that no input uses do not matter. Throws base::Error INVALID_DATA when a sum is not finite.
  Importance(std::vector<float> sums, int64_t width, runtime::ThreadPool& pool);

  int64_t width() const { return width_; }
  // The columns, the most used first.
  std::span<const int64_t> order() const { return order_; }
  // Mean square of a column's inputs, up to a factor.
  float weight(int64_t column) const { return diagonal_[static_cast<size_t>(column)]; }
  // Row i of the upper Cholesky factor of the inverse, in that order, from its diagonal on: [width − i].
  std::span<const float> factor(int64_t i) const;

 private:
  int64_t width_;
  std::vector<int64_t> order_;
  std::vector<float> diagonal_;
  std::vector<float> factor_;  // [width, width], upper
};

// Rounds `weights` [rows, width] to `out`, a matrix of kInt4 of the same shape; `weights` become what `out` stands for.
void round_with(const Importance& importance, std::span<float> weights, runtime::Matrix& out,
                runtime::ThreadPool& pool);

}  // namespace slipway::quantize
