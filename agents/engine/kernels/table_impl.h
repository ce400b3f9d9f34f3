// The kernels' one implementation, over a vector type V that each level's file defines. Included only by those files,
// which are compiled with different machine flags: everything here must have internal linkage, and nothing from the
// standard library that the linker could share between them may be used.
#pragma once

#include <cstdint>

#include "agents/engine/kernels/kernels.h"

namespace slipway::kernels {
namespace {

// A ROWS × COLUMNS tile of a matmul. One vector accumulator per element, reduced by V::sum at the end: the order of
// operations does not depend on the tile's shape.
template <typename V, int ROWS, int COLUMNS, typename T>
inline void tile(const float* x, int64_t x_stride, const T* w, int64_t depth, float* y, int64_t y_stride,
                 bool accumulate) {
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
      const float sum = V::sum(sums[i][j]);
      float& out = y[i * y_stride + j];
      out = accumulate ? out + sum : sum;
    }
  }
}

// All rows of x against COLUMNS rows of w.
template <typename V, int COLUMNS, typename T>
inline void strip(const MatmulCall& call, int64_t row_begin, int64_t row_end, const T* w, float* y) {
  const float* x = call.x;
  int64_t i = row_begin;
  for (; i + 4 <= row_end; i += 4) {
    tile<V, 4, COLUMNS>(x + i * call.x_stride, call.x_stride, w, call.depth, y + i * call.y_stride, call.y_stride,
                        call.accumulate);
  }
  for (; i + 2 <= row_end; i += 2) {
    tile<V, 2, COLUMNS>(x + i * call.x_stride, call.x_stride, w, call.depth, y + i * call.y_stride, call.y_stride,
                        call.accumulate);
  }
  if (i < row_end) {
    tile<V, 1, COLUMNS>(x + i * call.x_stride, call.x_stride, w, call.depth, y + i * call.y_stride, call.y_stride,
                        call.accumulate);
  }
}

template <typename V, typename T>
inline void matmul_typed(const MatmulCall& call, const T* weights) {
  if (call.rows == 1) {
    // One row: bound by memory, so many rows of w at once.
    int64_t j = call.begin;
    for (; j + V::kColumnsOfOneRow <= call.end; j += V::kColumnsOfOneRow) {
      tile<V, 1, V::kColumnsOfOneRow>(call.x, 0, weights + j * call.depth, call.depth, call.y + j, 0, call.accumulate);
    }
    for (; j < call.end; ++j) {
      tile<V, 1, 1>(call.x, 0, weights + j * call.depth, call.depth, call.y + j, 0, call.accumulate);
    }
    return;
  }
  // Blocks of x that stay in the second level cache.
  constexpr int64_t kBlockFloats = 64 * 1024;
  int64_t block = kBlockFloats / (call.depth > 0 ? call.depth : 1) / 4 * 4;
  if (block < 4) block = 4;
  for (int64_t row = 0; row < call.rows; row += block) {
    const int64_t row_end = row + block < call.rows ? row + block : call.rows;
    int64_t j = call.begin;
    for (; j + V::kColumns <= call.end; j += V::kColumns) {
      strip<V, V::kColumns>(call, row, row_end, weights + j * call.depth, call.y + j);
    }
    for (; j < call.end; ++j) strip<V, 1>(call, row, row_end, weights + j * call.depth, call.y + j);
  }
}

template <typename V>
void matmul(const MatmulCall& call) {
  switch (call.format) {
    case WeightFormat::kF32:
      matmul_typed<V>(call, static_cast<const float*>(call.weights));
      break;
    case WeightFormat::kBF16:
      matmul_typed<V>(call, static_cast<const uint16_t*>(call.weights));
      break;
  }
}

template <typename V>
float maximum(const float* x, int64_t size) {
  float best = x[0];
  int64_t i = 0;
  if (size >= V::kLanes) {
    auto running = V::load(x);
    for (i = V::kLanes; i + V::kLanes <= size; i += V::kLanes) running = V::maximum(running, V::load(x + i));
    float lanes[V::kLanes];
    V::store(lanes, running);
    for (const float lane : lanes) best = lane > best ? lane : best;
  }
  for (; i < size; ++i) best = x[i] > best ? x[i] : best;
  return best;
}

// x[i] = exp(x[i] − shift) where `keep`; returns the sum.
template <typename V, bool KEEP, typename Pointer>
inline float exp_in_place(Pointer x, float shift, int64_t size) {
  const auto minus = V::all(-shift);
  auto sum = V::zero();
  int64_t i = 0;
  for (; i + V::kLanes <= size; i += V::kLanes) {
    const auto value = V::exp(V::add(V::load(x + i), minus));
    if constexpr (KEEP) V::store(x + i, value);
    sum = V::add(sum, value);
  }
  float total = V::sum(sum);
  if (i < size) {
    float lanes[V::kLanes];
    V::store(lanes, V::exp(V::add(V::load_part(x + i, static_cast<int>(size - i)), minus)));
    for (int64_t j = 0; i + j < size; ++j) {
      if constexpr (KEEP) x[i + j] = lanes[j];
      total += lanes[j];
    }
  }
  return total;
}

template <typename V>
float sum_exp(const float* x, float shift, int64_t size) {
  return exp_in_place<V, false>(x, shift, size);
}

// out[0, VECTORS × lanes) = Σ_t scores[t] · values[t], in the order of the positions.
template <typename V, int VECTORS>
inline void weighted_sum(const AttentionCall& call, const float* scores, int64_t offset, float factor, float* out) {
  typename V::Register sums[VECTORS];
  for (int v = 0; v < VECTORS; ++v) sums[v] = V::zero();
  for (int64_t begin = 0, page = 0; begin < call.length; begin += kPageTokens, ++page) {
    const float* values = call.values + call.pages[page] * call.page_stride + offset;
    const int64_t count = call.length - begin < kPageTokens ? call.length - begin : kPageTokens;
    for (int64_t t = 0; t < count; ++t) {
      const auto weight = V::all(scores[begin + t]);
      for (int v = 0; v < VECTORS; ++v) {
        sums[v] = V::multiply_add(weight, V::load(values + t * call.head_dim + v * V::kLanes), sums[v]);
      }
    }
  }
  for (int v = 0; v < VECTORS; ++v) V::store(out + v * V::kLanes, V::multiply(sums[v], V::all(factor)));
}

template <typename V>
void attention(const AttentionCall& call) {
  const int64_t stride = (call.length + kPageTokens - 1) / kPageTokens * kPageTokens;
  MatmulCall scores;
  scores.x = call.queries;
  scores.x_stride = call.head_dim;
  scores.rows = call.heads;
  scores.depth = call.head_dim;
  scores.y_stride = stride;
  for (int64_t begin = 0, page = 0; begin < call.length; begin += kPageTokens, ++page) {
    scores.weights = call.keys + call.pages[page] * call.page_stride;
    scores.end = call.length - begin < kPageTokens ? call.length - begin : kPageTokens;
    scores.y = call.scores + begin;
    matmul_typed<V>(scores, static_cast<const float*>(scores.weights));
  }
  for (int64_t head = 0; head < call.heads; ++head) {
    float* row = call.scores + head * stride;
    const auto scale = V::all(call.scale);
    int64_t i = 0;
    for (; i + V::kLanes <= call.length; i += V::kLanes) V::store(row + i, V::multiply(V::load(row + i), scale));
    for (; i < call.length; ++i) row[i] *= call.scale;
    const float factor = 1.0F / exp_in_place<V, true>(row, maximum<V>(row, call.length), call.length);
    float* out = call.out + head * call.head_dim;
    int64_t d = 0;
    for (; d + 4 * V::kLanes <= call.head_dim; d += 4 * V::kLanes) weighted_sum<V, 4>(call, row, d, factor, out + d);
    for (; d + V::kLanes <= call.head_dim; d += V::kLanes) weighted_sum<V, 1>(call, row, d, factor, out + d);
    for (; d < call.head_dim; ++d) {
      float sum = 0;
      for (int64_t t = 0; t < call.length; ++t) {
        sum +=
            row[t] * call.values[call.pages[t / kPageTokens] * call.page_stride + t % kPageTokens * call.head_dim + d];
      }
      out[d] = sum * factor;
    }
  }
}

template <typename V>
void rms_norm(const float* x, const float* weight, float epsilon, int64_t size, float* out) {
  auto squares = V::zero();
  int64_t i = 0;
  for (; i + V::kLanes <= size; i += V::kLanes) {
    const auto value = V::load(x + i);
    squares = V::multiply_add(value, value, squares);
  }
  float sum = V::sum(squares);
  for (; i < size; ++i) sum += x[i] * x[i];
  const float factor = 1.0F / __builtin_sqrtf(sum / static_cast<float>(size) + epsilon);
  const auto factors = V::all(factor);
  for (i = 0; i + V::kLanes <= size; i += V::kLanes) {
    V::store(out + i, V::multiply(V::multiply(V::load(x + i), factors), V::load(weight + i)));
  }
  for (; i < size; ++i) out[i] = x[i] * factor * weight[i];
}

template <typename V>
void silu_multiply(float* gate, const float* up, int64_t size) {
  const auto one = V::all(1.0F);
  const auto part = [&](auto g, auto u) {
    const auto negative = V::subtract(V::zero(), g);
    return V::multiply(V::divide(g, V::add(one, V::exp(negative))), u);
  };
  int64_t i = 0;
  for (; i + V::kLanes <= size; i += V::kLanes) V::store(gate + i, part(V::load(gate + i), V::load(up + i)));
  if (i < size) {
    const int count = static_cast<int>(size - i);
    float lanes[V::kLanes];
    V::store(lanes, part(V::load_part(gate + i, count), V::load_part(up + i, count)));
    for (int j = 0; j < count; ++j) gate[i + j] = lanes[j];
  }
}

template <typename V>
void add(float* y, const float* x, int64_t size) {
  int64_t i = 0;
  for (; i + V::kLanes <= size; i += V::kLanes) V::store(y + i, V::add(V::load(y + i), V::load(x + i)));
  for (; i < size; ++i) y[i] += x[i];
}

template <typename V>
constexpr Table make_table(const char* name) {
  return {name, matmul<V>, attention<V>, rms_norm<V>, silu_multiply<V>, add<V>, maximum<V>, sum_exp<V>};
}

// Coefficients of exp(r) for |r| ≤ ln(2)/2: the Taylor series to r^7, whose error there is below half a unit of f32.
inline constexpr float kExpCoefficients[] = {1.0F / 5040, 1.0F / 720, 1.0F / 120, 1.0F / 24,
                                             1.0F / 6,    0.5F,       1.0F,       1.0F};
inline constexpr float kLog2E = 1.44269504088896341F;
inline constexpr float kLn2High = 0.693359375F;  // exact in few bits, so that n × it is exact
inline constexpr float kLn2Low = -2.12194440e-4F;
inline constexpr float kExpLowest = -87.3F;
inline constexpr float kExpHighest = 88.3F;

}  // namespace
}  // namespace slipway::kernels
