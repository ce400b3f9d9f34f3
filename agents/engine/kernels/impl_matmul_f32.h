// The matmul of kF32: weights as they lie in files, row by row, so that adapters need no packing. Included by the
// levels' files alone; see impl_elementwise.h.
#pragma once

#include <cstdint>

#include "agents/engine/kernels/kernels.h"

namespace slipway::kernels {
namespace {

// A ROWS × COLUMNS tile. One vector accumulator per element, reduced by V::sum at the end: the order of operations does
// not depend on the tile's shape.
template <typename V, int ROWS, int COLUMNS>
inline void tile_f32(const MatmulCall& call, int64_t row, int64_t column) {
  const int64_t depth = call.depth, x_stride = call.x_stride / static_cast<int64_t>(sizeof(float));
  const float* x = static_cast<const float*>(call.x) + row * x_stride;
  const float* w = static_cast<const float*>(call.weights) + column * depth;
  typename V::Register sums[ROWS][COLUMNS];
  for (int i = 0; i < ROWS; ++i) {
    for (int j = 0; j < COLUMNS; ++j) sums[i][j] = V::zero();
  }
  int64_t k = 0;
  for (; k + V::kLanes <= depth; k += V::kLanes) {
    typename V::Register right[COLUMNS];
    for (int j = 0; j < COLUMNS; ++j) right[j] = V::load(w + j * depth + k);
    for (int i = 0; i < ROWS; ++i) {
      const auto left = V::load(x + i * x_stride + k);
      for (int j = 0; j < COLUMNS; ++j) sums[i][j] = V::multiply_add(left, right[j], sums[i][j]);
    }
  }
  if (k < depth) {
    const int count = static_cast<int>(depth - k);
    typename V::Register right[COLUMNS];
    for (int j = 0; j < COLUMNS; ++j) right[j] = V::load_part(w + j * depth + k, count);
    for (int i = 0; i < ROWS; ++i) {
      const auto left = V::load_part(x + i * x_stride + k, count);
      for (int j = 0; j < COLUMNS; ++j) sums[i][j] = V::multiply_add(left, right[j], sums[i][j]);
    }
  }
  for (int i = 0; i < ROWS; ++i) {
    for (int j = 0; j < COLUMNS; ++j) {
      float sum = V::sum(sums[i][j]);
      if (call.bias != nullptr) sum += call.bias[column + j];
      float& out = call.y[(row + i) * call.y_stride + column + j];
      out = call.accumulate ? out + sum : sum;
    }
  }
}

// Some rows of x against COLUMNS rows of w.
template <typename V, int COLUMNS>
inline void strip_f32(const MatmulCall& call, int64_t row, int64_t row_end, int64_t column) {
  for (; row + 4 <= row_end; row += 4) tile_f32<V, 4, COLUMNS>(call, row, column);
  for (; row + 2 <= row_end; row += 2) tile_f32<V, 2, COLUMNS>(call, row, column);
  if (row < row_end) tile_f32<V, 1, COLUMNS>(call, row, column);
}

template <typename V>
inline void matmul_f32(const MatmulCall& call) {
  int64_t j = call.begin;
  if (call.rows == 1) {
    // One row: bound by memory, so many rows of w at once.
    for (; j + V::kColumnsOfOneRow <= call.end; j += V::kColumnsOfOneRow)
      tile_f32<V, 1, V::kColumnsOfOneRow>(call, 0, j);
    for (; j < call.end; ++j) tile_f32<V, 1, 1>(call, 0, j);
    return;
  }
  // Blocks of x that stay in the second level cache.
  constexpr int64_t kBlockFloats = 64 * 1024;
  int64_t block = kBlockFloats / (call.depth > 0 ? call.depth : 1) / 4 * 4;
  if (block < 4) block = 4;
  for (int64_t row = 0; row < call.rows; row += block) {
    const int64_t row_end = row + block < call.rows ? row + block : call.rows;
    for (j = call.begin; j + V::kColumns <= call.end; j += V::kColumns)
      strip_f32<V, V::kColumns>(call, row, row_end, j);
    for (; j < call.end; ++j) strip_f32<V, 1>(call, row, row_end, j);
  }
}

}  // namespace
}  // namespace slipway::kernels
