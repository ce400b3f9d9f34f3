// Matrix products for one element type: tiles of 12 rows and 32 columns whose sums stay in registers. Included by the
// AVX-512 kernels' own files alone.
#pragma once

#include <algorithm>

#include "agents/engine/train/cpu/cpu_element.h"
#include "agents/engine/train/cpu/cpu_kernels.h"

namespace slipway::train {
namespace {

constexpr int kTileRows = 12;

// Two vectors of the right side: 32 columns of the next kPair rows.
template <typename T>
struct PanelRight {
  const typename T::Storage* at;
  typename T::Factor first, second;
  void next() {
    first = load_factor(at);
    second = load_factor(at + 16 * T::kPair);
    at += kPanelColumns * T::kPair;
  }
  static typename T::Factor load_factor(const typename T::Storage* p) {
    typename T::Factor factor;
    std::memcpy(&factor, p, sizeof factor);
    return factor;
  }
};

// The same from plain rows. bf16: interleaving within 128-bit lanes leaves columns 8l+0..3 in the first vector and
// 8l+4..7 in the second, which in_order() undoes at the end. `columns` below 32 reads no further.
template <typename T>
struct RowsRight;

template <>
struct RowsRight<F32> {
  const float* at;
  int64_t stride;
  __mmask16 first_mask, second_mask;
  __m512 first, second;
  void next(bool) {
    first = _mm512_maskz_loadu_ps(first_mask, at);
    second = _mm512_maskz_loadu_ps(second_mask, at + 16);
    at += stride;
  }
};

#ifdef __AVX512BF16__
template <>
struct RowsRight<Bf16> {
  const uint16_t* at;
  int64_t stride;
  __mmask32 mask;
  __m512i first, second;
  void next(bool has_second_row) {
    const __m512i even = _mm512_maskz_loadu_epi16(mask, at);
    const __m512i odd = has_second_row ? _mm512_maskz_loadu_epi16(mask, at + stride) : _mm512_setzero_si512();
    first = _mm512_unpacklo_epi16(even, odd);
    second = _mm512_unpackhi_epi16(even, odd);
    at += 2 * stride;
  }
};
#endif

template <int kRows>
struct Tile {
  __m512 sums[kRows][2];
};

template <typename T, int kRows>
inline void add_panels(Tile<kRows>& tile, const Product& p, int64_t row, int64_t panel) {
  using Storage = typename T::Storage;
  const Storage* left = static_cast<const Storage*>(p.left) + row * p.left_row_stride;
  const int64_t row_stride = p.left_row_stride, k_stride = p.left_k_stride * T::kPair;
  PanelRight<T> right{static_cast<const Storage*>(p.right) + panel * p.panel_stride, {}, {}};
  for (int64_t k = 0; k < p.k; k += T::kPair) {
    right.next();
#pragma GCC unroll 12
    for (int i = 0; i < kRows; ++i) {
      const typename T::Factor factor = T::broadcast(left + i * row_stride);
      tile.sums[i][0] = T::multiply_add(tile.sums[i][0], factor, right.first);
      tile.sums[i][1] = T::multiply_add(tile.sums[i][1], factor, right.second);
    }
    left += k_stride;
  }
}

template <typename T, int kRows>
inline void add_rows(Tile<kRows>& tile, const Product& p, int64_t row, int64_t column, int64_t columns) {
  using Storage = typename T::Storage;
  const Storage* left = static_cast<const Storage*>(p.left) + row * p.left_row_stride;
  const int64_t row_stride = p.left_row_stride, k_stride = p.left_k_stride * T::kPair;
  RowsRight<T> right{};
  right.at = static_cast<const Storage*>(p.right) + column;
  right.stride = p.right_stride;
  if constexpr (T::kPair == 1) {
    right.first_mask = tail_mask(columns);
    right.second_mask = columns > 16 ? tail_mask(columns - 16) : 0;
  } else {
    right.mask = columns >= 32 ? 0xffffffffU : (1U << columns) - 1U;
  }
  for (int64_t k = 0; k < p.k; k += T::kPair) {
    right.next(k + 1 < p.k);
#pragma GCC unroll 12
    for (int i = 0; i < kRows; ++i) {
      const typename T::Factor factor = T::broadcast(left + i * row_stride);
      tile.sums[i][0] = T::multiply_add(tile.sums[i][0], factor, right.first);
      tile.sums[i][1] = T::multiply_add(tile.sums[i][1], factor, right.second);
    }
    left += k_stride;
  }
}

// Columns in their order again, after RowsRight<Bf16>.
inline void in_order(__m512& first, __m512& second) {
  const __m512i low = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
  const __m512i high = _mm512_setr_epi32(8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
  const __m512 a = _mm512_permutex2var_ps(first, low, second);
  second = _mm512_permutex2var_ps(first, high, second);
  first = a;
}

template <typename T, int kRows>
inline void store_tile(const Tile<kRows>& tile, const ProductOutput& output, int64_t row, int64_t column,
                       int64_t columns, bool interleaved) {
  const __mmask16 masks[2] = {tail_mask(columns), columns > 16 ? tail_mask(columns - 16) : static_cast<__mmask16>(0)};
  const __m512 scale = _mm512_set1_ps(output.scale);
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
    __m512 sums[2] = {tile.sums[i][0], tile.sums[i][1]};
    if (interleaved) in_order(sums[0], sums[1]);
    for (int half = 0; half < 2; ++half) {
      if (masks[half] == 0) continue;
      const int64_t at = (row + i) * output.stride + column + 16 * half;
      __m512 value = _mm512_mul_ps(sums[half], scale);
      if (output.bias != nullptr) {
        value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(masks[half], output.bias + column + 16 * half));
      }
      if (output.is_f32) {
        float* const target = static_cast<float*>(output.data) + at;
        if (output.add) value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(masks[half], target));
        _mm512_mask_storeu_ps(target, masks[half], value);
      } else {
        T::store(static_cast<typename T::Storage*>(output.data) + at, value, masks[half]);
      }
    }
  }
}

template <typename T, int kRows>
inline void multiply_tile(const Product* products, int count, const ProductOutput& output, int64_t row, int64_t column,
                          int64_t columns) {
  Tile<kRows> tile;
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) tile.sums[i][0] = tile.sums[i][1] = _mm512_setzero_ps();
  bool interleaved = false;
  for (int i = 0; i < count; ++i) {
    if (products[i].right_side == RightSide::kPanels) {
      add_panels<T, kRows>(tile, products[i], row, column / kPanelColumns);
    } else {
      add_rows<T, kRows>(tile, products[i], row, column, columns);
      interleaved = T::kPair == 2;
    }
  }
  store_tile<T, kRows>(tile, output, row, column, columns, interleaved);
}

template <typename T>
inline void multiply_short_tile(const Product* products, int count, const ProductOutput& output, int64_t row,
                                int64_t rows, int64_t column, int64_t columns) {
  int64_t at = row;
  const int64_t end = row + rows;
  for (; at + 8 <= end; at += 8) multiply_tile<T, 8>(products, count, output, at, column, columns);
  for (; at + 4 <= end; at += 4) multiply_tile<T, 4>(products, count, output, at, column, columns);
  for (; at + 2 <= end; at += 2) multiply_tile<T, 2>(products, count, output, at, column, columns);
  for (; at < end; ++at) multiply_tile<T, 1>(products, count, output, at, column, columns);
}

// The left rows that stay in the second-level cache while all columns pass by, and the steps of k at once where sums
// can be put aside (f32): more would leave the cache between two tiles.
constexpr int64_t kRowsAtOnce = 24 * kTileRows;
constexpr int64_t kStepsAtOnce = 2048;

template <typename T>
void multiply_block(const Product* products, int count, const ProductOutput& output, int64_t row_begin, int64_t row_end,
                    int64_t n) {
  for (int64_t column = 0; column < n; column += kPanelColumns) {
    const int64_t columns = std::min(kPanelColumns, n - column);
    int64_t row = row_begin;
    for (; row + kTileRows <= row_end; row += kTileRows) {
      multiply_tile<T, kTileRows>(products, count, output, row, column, columns);
    }
    if (row < row_end) multiply_short_tile<T>(products, count, output, row, row_end - row, column, columns);
  }
}

// `product` from step `begin` on.
template <typename T>
inline Product steps_from(Product product, int64_t begin, int64_t count) {
  using Storage = typename T::Storage;
  product.left = static_cast<const Storage*>(product.left) + begin * product.left_k_stride;
  product.right = static_cast<const Storage*>(product.right) +
                  begin * (product.right_side == RightSide::kPanels ? kPanelColumns : product.right_stride);
  product.k = count;
  return product;
}

template <typename T>
void multiply(const Product* products, int count, const ProductOutput& output, int64_t row_begin, int64_t row_end,
              int64_t n) {
  for (int64_t rows = row_begin; rows < row_end; rows += kRowsAtOnce) {
    const int64_t end = std::min(rows + kRowsAtOnce, row_end);
    if (!output.is_f32 || count > 1 || products->k <= kStepsAtOnce) {
      multiply_block<T>(products, count, output, rows, end, n);
      continue;
    }
    ProductOutput part = output;
    for (int64_t k = 0; k < products->k; k += kStepsAtOnce) {
      const Product steps = steps_from<T>(*products, k, std::min(kStepsAtOnce, products->k - k));
      multiply_block<T>(&steps, 1, part, rows, end, n);
      part.add = true;
      part.bias = nullptr;
    }
  }
}

// Elements of one panel: k rounded up to whole pairs.
template <typename T>
inline int64_t panel_elements(int64_t k) {
  return (k + T::kPair - 1) / T::kPair * T::kPair * kPanelColumns;
}

template <typename T>
void pack_transposed(const void* source, int64_t stride, int64_t k, int64_t columns, void* panels, int64_t panel_begin,
                     int64_t panel_end) {
  using Storage = typename T::Storage;
  const auto* const rows = static_cast<const Storage*>(source);
  for (int64_t panel = panel_begin; panel < panel_end; ++panel) {
    Storage* const target = static_cast<Storage*>(panels) + panel * panel_elements<T>(k);
    // Sixteen steps of k at a time, so that each source line is read once while it is in the cache.
    constexpr int64_t kStep = 16 * T::kPair;
    for (int64_t begin = 0; begin < k; begin += kStep) {
      const int64_t end = std::min(begin + kStep, k);
      for (int64_t c = 0; c < kPanelColumns; ++c) {
        const int64_t column = panel * kPanelColumns + c;
        const Storage* const from = rows + column * stride;
        for (int64_t i = begin; i < end; i += T::kPair) {
          Storage* const to = target + i * kPanelColumns + c * T::kPair;
          for (int j = 0; j < T::kPair; ++j) to[j] = column < columns && i + j < k ? from[i + j] : Storage{0};
        }
      }
    }
  }
}

template <typename T>
void pack_rows(const void* source, int64_t stride, int64_t k, int64_t columns, void* panels, int64_t panel_begin,
               int64_t panel_end) {
  using Storage = typename T::Storage;
  const auto* const rows = static_cast<const Storage*>(source);
  for (int64_t panel = panel_begin; panel < panel_end; ++panel) {
    Storage* const target = static_cast<Storage*>(panels) + panel * panel_elements<T>(k);
    const int64_t column = panel * kPanelColumns, width = std::min(kPanelColumns, columns - column);
    for (int64_t i = 0; i < k; i += T::kPair) {
      for (int64_t c = 0; c < kPanelColumns; ++c) {
        for (int j = 0; j < T::kPair; ++j) {
          target[i * kPanelColumns + c * T::kPair + j] =
              c < width && i + j < k ? rows[(i + j) * stride + column + c] : Storage{0};
        }
      }
    }
  }
}

// [k][m] -> [k / 2][target_m][2]; an odd last row is paired with zeros.
template <typename T>
void interleave(const void* source, int64_t stride, int64_t k, int64_t m, void* target, int64_t target_m) {
  using Storage = typename T::Storage;
  const auto* const rows = static_cast<const Storage*>(source);
  auto* const to = static_cast<Storage*>(target);
  for (int64_t i = 0; i < k; i += 2) {
    const Storage* const even = rows + i * stride;
    const Storage* const odd = even + stride;
    Storage* const out = to + i * target_m;
    if (i + 1 < k) {
      for (int64_t c = 0; c < m; ++c) {
        out[2 * c] = even[c];
        out[2 * c + 1] = odd[c];
      }
    } else {
      for (int64_t c = 0; c < m; ++c) {
        out[2 * c] = even[c];
        out[2 * c + 1] = Storage{0};
      }
    }
  }
}

}  // namespace
}  // namespace slipway::train
