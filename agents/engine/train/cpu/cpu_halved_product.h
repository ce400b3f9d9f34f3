// Large products in f32 by one level of Strassen's algorithm (Strassen 1969, Higham 2002 chapter 23): both sides are
// cut in four, and seven products of quarters take the place of eight. The left quarters' sums are made per block of
// rows, the right quarters' while they are loaded, so that no memory is needed for them. Included by the f32 kernels'
// own file alone.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>

#include "agents/engine/train/cpu/cpu_product.h"
#include "agents/engine/train/cpu/cpu_scratch.h"

namespace slipway::train {
namespace {

// Rows and steps of k of each half that are worked on at once: their sums stay in the second-level cache.
constexpr int64_t kRowsOfHalf = 4 * kTileRows;
constexpr int64_t kStepsOfHalf = 384;
constexpr int64_t kSumStride = kStepsOfHalf + 16;  // rows do not fall on each other in the cache
constexpr int kQuarterProducts = 7;

// Quarters of a matrix: upper left, upper right, lower left, lower right.
enum Quarter { k11, k12, k21, k22 };

enum class Join { kFirst, kSum, kDifference };

// One of the seven: its right side is `right` joined with `other`; it is added to `target`, and added to or subtracted
// from `further` where that is another. Its left side is the one of the same place in left_row().
struct QuarterProduct {
  Join join;
  Quarter right, other;
  Quarter target, further;
  bool subtracts = false;
};

constexpr std::array<QuarterProduct, kQuarterProducts> kStrassen = {{{Join::kSum, k11, k22, k11, k22},
                                                                     {Join::kFirst, k11, k11, k21, k22, true},
                                                                     {Join::kDifference, k12, k22, k12, k22},
                                                                     {Join::kDifference, k21, k11, k11, k21},
                                                                     {Join::kFirst, k22, k22, k12, k11, true},
                                                                     {Join::kSum, k11, k12, k22, k22},
                                                                     {Join::kSum, k21, k22, k11, k11}}};

// One row of the seven left sides from a row of the upper half and one of the lower (null: beyond the matrix), `steps`
// of k to each quarter.
inline void left_row(const float* upper, const float* lower, int64_t steps, float* lefts) {
  for (int64_t k = 0; k < steps; k += 16) {
    const __mmask16 mask = tail_mask(steps - k), lower_mask = lower != nullptr ? mask : static_cast<__mmask16>(0);
    const __m512 a11 = _mm512_maskz_loadu_ps(mask, upper + k), a12 = _mm512_maskz_loadu_ps(mask, upper + steps + k);
    const __m512 a21 = _mm512_maskz_loadu_ps(lower_mask, lower + k);
    const __m512 a22 = _mm512_maskz_loadu_ps(lower_mask, lower + steps + k);
    const __m512 values[kQuarterProducts] = {
        _mm512_add_ps(a11, a22), _mm512_add_ps(a21, a22), a11, a22, _mm512_add_ps(a11, a12),
        _mm512_sub_ps(a21, a11), _mm512_sub_ps(a12, a22)};
    for (int i = 0; i < kQuarterProducts; ++i) {
      _mm512_storeu_ps(lefts + i * kRowsOfHalf * kSumStride + k, values[i]);
    }
  }
}

// 32 columns of one step of the joined right side.
template <Join kJoin>
struct JoinedRight {
  const float* at;
  const float* other;
  int64_t step;
  __m512 first{}, second{};

  static __m512 join(const float* a, const float* b) {
    if constexpr (kJoin == Join::kSum) return _mm512_add_ps(_mm512_loadu_ps(a), _mm512_loadu_ps(b));
    if constexpr (kJoin == Join::kDifference) return _mm512_sub_ps(_mm512_loadu_ps(a), _mm512_loadu_ps(b));
    return _mm512_loadu_ps(a);
  }
  void next() {
    first = join(at, other);
    second = join(at + 16, other + 16);
    at += step;
    other += step;
  }
};

// `rows` of the seven left sides' one, times the joined right side, into the targets [kRowsOfHalf, kPanelColumns].
template <Join kJoin>
void multiply_quarter(const float* left, int64_t rows, const float* right, const float* other, int64_t step,
                      int64_t steps, float* target, float* further, float sign) {
  for (int64_t row = 0; row < rows; row += kTileRows) {
    Tile<kTileRows, 2> tile;
#pragma GCC unroll 12
    for (int i = 0; i < kTileRows; ++i) tile.sums[i][0] = tile.sums[i][1] = _mm512_setzero_ps();
    JoinedRight<kJoin> joined{right, other, step};
    const float* at = left + row * kSumStride;
    for (int64_t k = 0; k < steps; ++k) {
      joined.next();
      add_step<F32, true>(tile, at++, kSumStride, joined);
    }
    const __m512 factor = _mm512_set1_ps(sign);
#pragma GCC unroll 12
    for (int i = 0; i < kTileRows; ++i) {
      for (int half = 0; half < 2; ++half) {
        const int64_t place = (row + i) * kPanelColumns + 16 * half;
        const __m512 sum = tile.sums[i][half];
        _mm512_store_ps(target + place, _mm512_add_ps(_mm512_load_ps(target + place), sum));
        if (further == nullptr) continue;
        _mm512_store_ps(further + place, _mm512_fmadd_ps(sum, factor, _mm512_load_ps(further + place)));
      }
    }
  }
}

// Where the quarters of the right side begin, at one panel's columns.
struct RightQuarters {
  const float* at[4];
  int64_t step;
};

inline RightQuarters right_quarters(const Product& p, int64_t begin, int64_t steps, int64_t column, int64_t n) {
  const bool panels = p.right_side == RightSide::kPanels;
  RightQuarters quarters{{}, panels ? kPanelColumns : p.right_stride};
  for (int i = 0; i < 4; ++i) {
    const int64_t from = column + i % 2 * (n / 2), k = begin + i / 2 * steps;
    quarters.at[i] = static_cast<const float*>(p.right) + (panels ? from / kPanelColumns * p.panel_stride : from) +
                     k * quarters.step;
  }
  return quarters;
}

// All seven, for one panel's columns of each half. sums: four times [kRowsOfHalf, kPanelColumns].
inline void multiply_quarters(const float* lefts, int64_t rows, const RightQuarters& right, int64_t steps,
                              float* sums) {
  constexpr int64_t kSize = kRowsOfHalf * kPanelColumns;
  std::memset(sums, 0, 4 * kSize * sizeof(float));
  for (const QuarterProduct& product : kStrassen) {
    const auto multiply = product.join == Join::kFirst ? multiply_quarter<Join::kFirst>
                          : product.join == Join::kSum ? multiply_quarter<Join::kSum>
                                                       : multiply_quarter<Join::kDifference>;
    multiply(lefts + (&product - kStrassen.data()) * kRowsOfHalf * kSumStride, rows, right.at[product.right],
             right.at[product.other], right.step, steps, sums + product.target * kSize,
             product.further != product.target ? sums + product.further * kSize : nullptr,
             product.subtracts ? -1.0F : 1.0F);
  }
}

// kRows of a quarter's sums [kRows, kPanelColumns] and the further products to the output.
template <int kRows>
inline void store_rows_of(const float* sums, const Product* further, int count, const ProductOutput& output,
                          int64_t row, int64_t column) {
  Tile<kRows, 2> tile;
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
    tile.sums[i][0] = _mm512_load_ps(sums + i * kPanelColumns);
    tile.sums[i][1] = _mm512_load_ps(sums + i * kPanelColumns + 16);
  }
  for (int i = 0; i < count; ++i) {
    if (further[i].right_side == RightSide::kPanels) {
      add_panels<F32>(tile, further[i], row, column / kPanelColumns);
    } else {
      add_rows<F32>(tile, further[i], row, column, kPanelColumns);
    }
  }
  store_tile<F32>(tile, output, row, column, kPanelColumns, false);
}

inline void store_quarter(const float* sums, const Product* further, int count, const ProductOutput& output,
                          int64_t begin, int64_t rows, int64_t column) {
  int64_t row = 0;
  for (; row + kTileRows <= rows; row += kTileRows) {
    store_rows_of<kTileRows>(sums + row * kPanelColumns, further, count, output, begin + row, column);
  }
  for (; row < rows; ++row) store_rows_of<1>(sums + row * kPanelColumns, further, count, output, begin + row, column);
}

// As prefetch_tile(), of all four quarters at once.
inline void prefetch_quarters(const ProductOutput& output, int64_t begin, int64_t size, int64_t lower,
                              int64_t lower_size, int64_t column, int64_t n) {
  for (int64_t i = 0; i < size; ++i) {
    for (const int64_t at : {column, column + n / 2}) {
      prefetch_tile<F32, 1, 2>(output, begin + i, at);
      if (i < lower_size) prefetch_tile<F32, 1, 2>(output, lower + i, at);
    }
  }
}

inline void multiply_halved(const Product* products, int count, const ProductOutput& output, const HalvedRows& rows,
                            int64_t n) {
  const int64_t k = products->k, parts = (k / 2 + kStepsOfHalf - 1) / kStepsOfHalf;
  const int64_t steps_at_once = (k / 2 + parts - 1) / parts;
  Scratch<float> lefts(kQuarterProducts * kRowsOfHalf * kSumStride), sums(4 * kRowsOfHalf * kPanelColumns);
  for (int64_t begin = rows.begin; begin < rows.end; begin += kRowsOfHalf) {
    const int64_t size = std::min(kRowsOfHalf, rows.end - begin), lower = begin + rows.half;
    const int64_t lower_size = std::clamp<int64_t>(rows.total - lower, 0, size);
    ProductOutput part = output;
    int further = count - 1;
    for (int64_t first = 0; first < k; first += 2 * steps_at_once) {
      const int64_t steps = std::min(steps_at_once, (k - first) / 2);
      const float* const left = static_cast<const float*>(products->left) + begin * products->left_row_stride + first;
      for (int64_t i = 0; i < size; ++i) {
        const float* const upper = left + i * products->left_row_stride;
        left_row(upper, i < lower_size ? upper + rows.half * products->left_row_stride : nullptr, steps,
                 lefts.get() + i * kSumStride);
      }
      for (int64_t column = 0; column < n / 2; column += kPanelColumns) {
        prefetch_quarters(part, begin, size, lower, lower_size, column, n);
        multiply_quarters(lefts.get(), size, right_quarters(*products, first, steps, column, n), steps, sums.get());
        for (int i = 0; i < 4; ++i) {
          store_quarter(sums.get() + i * kRowsOfHalf * kPanelColumns, products + 1, further, part,
                        i < 2 ? begin : lower, i < 2 ? size : lower_size, column + i % 2 * (n / 2));
        }
      }
      // What is added once is there now.
      part.add = true;
      part.added = part.bias = nullptr;
      further = 0;
    }
  }
}

}  // namespace
}  // namespace slipway::train
