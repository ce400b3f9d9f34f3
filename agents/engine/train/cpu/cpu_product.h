// Matrix products for one element type: tiles of 12 rows and 32 columns whose sums stay in registers. Included by the
// AVX-512 kernels' own files alone.
#pragma once

#include <algorithm>

#include "agents/engine/train/cpu/cpu_element.h"
#include "agents/engine/train/cpu/cpu_kernels.h"

namespace slipway::train {
namespace {

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

// Plain rows that are fetched ahead: each lies in another page, where a cache does not look by itself.
constexpr int64_t kRowsAhead = 16;

// The same from plain rows, which are read no further than `columns`. bf16 in two vectors: interleaving within 128-bit
// lanes leaves columns 8l+0..3 in the first and 8l+4..7 in the second, which in_order() undoes at the end.
template <typename T>
struct RowsRight;

template <>
struct RowsRight<F32> {
  RowsRight(const float* start, int64_t row_stride, int64_t columns)
      : at(start),
        stride(row_stride),
        first_mask(tail_mask(columns)),
        second_mask(columns > 16 ? tail_mask(columns - 16) : static_cast<__mmask16>(0)) {}
  template <int kVectors>
  void next(bool) {
    first = _mm512_maskz_loadu_ps(first_mask, at);
    __builtin_prefetch(at + kRowsAhead * stride);
    if constexpr (kVectors == 2) {
      second = _mm512_maskz_loadu_ps(second_mask, at + 16);
      __builtin_prefetch(at + kRowsAhead * stride + 16);
    }
    at += stride;
  }

  const float* at;
  int64_t stride;
  __mmask16 first_mask, second_mask;
  __m512 first{}, second{};
};

#ifdef __AVX512BF16__
template <>
struct RowsRight<Bf16> {
  RowsRight(const uint16_t* start, int64_t row_stride, int64_t columns)
      : at(start), stride(row_stride), mask(columns >= 32 ? 0xffffffffU : (1U << columns) - 1U) {}
  template <int kVectors>
  void next(bool has_second_row) {
    const __mmask32 odd_mask = has_second_row ? mask : 0;
    if constexpr (kVectors == 2) {
      const __m512i even = _mm512_maskz_loadu_epi16(mask, at), odd = _mm512_maskz_loadu_epi16(odd_mask, at + stride);
      first = _mm512_unpacklo_epi16(even, odd);
      second = _mm512_unpackhi_epi16(even, odd);
    } else {
      const __m256i even = _mm256_maskz_loadu_epi16(static_cast<__mmask16>(mask), at);
      const __m256i odd = _mm256_maskz_loadu_epi16(static_cast<__mmask16>(odd_mask), at + stride);
      first = _mm512_or_si512(_mm512_cvtepu16_epi32(even), _mm512_slli_epi32(_mm512_cvtepu16_epi32(odd), 16));
    }
    __builtin_prefetch(at + kRowsAhead * stride);
    __builtin_prefetch(at + (kRowsAhead + 1) * stride);
    at += 2 * stride;
  }

  const uint16_t* at;
  int64_t stride;
  __mmask32 mask;
  __m512i first{}, second{};
};
#endif

constexpr int64_t kLineBytes = 64;  // of a cache

// Sums of kRows rows and one or two vectors of columns. A low rank's products have no more than one.
template <int kRows, int kVectors>
struct Tile {
  __m512 sums[kRows][kVectors];
};

// Where the left side's `row` begins.
template <typename T>
inline const typename T::Storage* left_at(const Product& p, int64_t row) {
  const auto* const left = static_cast<const typename T::Storage*>(p.left);
  if (p.left_tile_stride == 0) return left + row * p.left_row_stride;
  return left + row / kTileRows * p.left_tile_stride + row % kTileRows * p.left_row_stride;
}

// kPairs: the left side has a whole pair of k; else the last one alone, which has no neighbour.
template <typename T, bool kPairs, int kRows, int kVectors, typename Right>
inline void add_step(Tile<kRows, kVectors>& tile, const typename T::Storage* left, int64_t row_stride,
                     const Right& right) {
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
    const typename T::Factor factor =
        kPairs ? T::broadcast(left + i * row_stride) : T::broadcast_last(left + i * row_stride);
    tile.sums[i][0] = T::multiply_add(tile.sums[i][0], factor, right.first);
    if constexpr (kVectors == 2) tile.sums[i][1] = T::multiply_add(tile.sums[i][1], factor, right.second);
  }
}

template <typename T, int kRows, int kVectors>
inline void add_panels(Tile<kRows, kVectors>& tile, const Product& p, int64_t row, int64_t panel) {
  using Storage = typename T::Storage;
  const Storage* left = left_at<T>(p, row);
  const int64_t row_stride = p.left_row_stride, k_stride = p.left_k_stride * T::kPair;
  PanelRight<T> right{static_cast<const Storage*>(p.right) + panel * p.panel_stride, {}, {}};
  for (int64_t k = T::kPair; k <= p.k; k += T::kPair) {
    right.next();
    add_step<T, true>(tile, left, row_stride, right);
    left += k_stride;
  }
  if (p.k % T::kPair == 0) return;
  right.next();
  add_step<T, false>(tile, left, row_stride, right);
}

template <typename T, int kRows, int kVectors>
inline void add_rows(Tile<kRows, kVectors>& tile, const Product& p, int64_t row, int64_t column, int64_t columns) {
  using Storage = typename T::Storage;
  const Storage* left = left_at<T>(p, row);
  const int64_t row_stride = p.left_row_stride, k_stride = p.left_k_stride * T::kPair;
  RowsRight<T> right(static_cast<const Storage*>(p.right) + column, p.right_stride, columns);
  for (int64_t k = T::kPair; k <= p.k; k += T::kPair) {
    right.template next<kVectors>(true);
    add_step<T, true>(tile, left, row_stride, right);
    left += k_stride;
  }
  if (p.k % T::kPair == 0) return;
  right.template next<kVectors>(false);
  add_step<T, false>(tile, left, row_stride, right);
}

// Columns in their order again, after RowsRight<Bf16>.
inline void in_order(__m512& first, __m512& second) {
  const __m512i low = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
  const __m512i high = _mm512_setr_epi32(8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
  const __m512 a = _mm512_permutex2var_ps(first, low, second);
  second = _mm512_permutex2var_ps(first, high, second);
  first = a;
}

template <typename T, int kRows, int kVectors>
inline void store_tile(const Tile<kRows, kVectors>& tile, const ProductOutput& output, int64_t row, int64_t column,
                       int64_t columns, bool interleaved) {
  const __mmask16 masks[2] = {tail_mask(columns), columns > 16 ? tail_mask(columns - 16) : static_cast<__mmask16>(0)};
  const __m512 scale = _mm512_set1_ps(output.scale);
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
    __m512 sums[2] = {tile.sums[i][0], tile.sums[i][kVectors - 1]};
    if (kVectors == 2 && interleaved) in_order(sums[0], sums[1]);
    for (int half = 0; half < kVectors; ++half) {
      const int64_t at = (row + i) * output.stride + column + 16 * half;
      __m512 value = _mm512_mul_ps(sums[half], scale);
      if (output.bias != nullptr) {
        value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(masks[half], output.bias + column + 16 * half));
      }
      if (output.is_f32) {
        float* const target = static_cast<float*>(output.data) + at;
        if (output.add) {
          const float* const there = output.added != nullptr ? output.added + at : target;
          value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(masks[half], there));
        }
        _mm512_mask_storeu_ps(target, masks[half], value);
      } else {
        T::store(static_cast<typename T::Storage*>(output.data) + at, value, masks[half]);
      }
    }
  }
}

// A tile's place in the output, fetched while its sums are computed: it comes from main memory as a rule.
template <typename T, int kRows, int kVectors>
inline void prefetch_tile(const ProductOutput& output, int64_t row, int64_t column) {
  const int64_t element = output.is_f32 ? sizeof(float) : sizeof(typename T::Storage);
  for (int i = 0; i < kRows; ++i) {
    const int64_t at = (row + i) * output.stride + column;
    const char* const target = static_cast<const char*>(output.data) + at * element;
    __builtin_prefetch(target, 1);
    if (kVectors == 2 && output.is_f32) __builtin_prefetch(target + kLineBytes, 1);
    if (output.added == nullptr) continue;
    __builtin_prefetch(output.added + at);
    if constexpr (kVectors == 2) __builtin_prefetch(output.added + at + 16);
  }
}

template <typename T, int kRows, int kVectors>
inline void multiply_tile(const Product* products, int count, const ProductOutput& output, int64_t row, int64_t column,
                          int64_t columns) {
  Tile<kRows, kVectors> tile;
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
    for (int half = 0; half < kVectors; ++half) tile.sums[i][half] = _mm512_setzero_ps();
  }
  prefetch_tile<T, kRows, kVectors>(output, row, column);
  bool interleaved = false;
  for (int i = 0; i < count; ++i) {
    if (products[i].right_side == RightSide::kPanels) {
      add_panels<T>(tile, products[i], row, column / kPanelColumns);
    } else {
      add_rows<T>(tile, products[i], row, column, columns);
      interleaved = T::kPair == 2;
    }
  }
  store_tile<T>(tile, output, row, column, columns, interleaved);
}

template <typename T, int kVectors>
inline void multiply_rows(const Product* products, int count, const ProductOutput& output, int64_t row, int64_t end,
                          int64_t column, int64_t columns) {
  const auto tiles = [&]<int kRows>() {
    for (; row + kRows <= end; row += kRows) {
      multiply_tile<T, kRows, kVectors>(products, count, output, row, column, columns);
    }
  };
  tiles.template operator()<kTileRows>();
  tiles.template operator()<8>();
  tiles.template operator()<4>();
  tiles.template operator()<2>();
  tiles.template operator()<1>();
}

template <typename T>
void multiply_block(const Product* products, int count, const ProductOutput& output, int64_t row_begin, int64_t row_end,
                    int64_t n) {
  for (int64_t column = 0; column < n; column += kPanelColumns) {
    const int64_t columns = std::min(kPanelColumns, n - column);
    if (columns > 16) {
      multiply_rows<T, 2>(products, count, output, row_begin, row_end, column, columns);
    } else {
      multiply_rows<T, 1>(products, count, output, row_begin, row_end, column, columns);
    }
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
  const int64_t k = products->k, steps = steps_at_once(products, count, output);
  const int64_t block = kTileRows * tiles_at_once(sizeof(typename T::Storage), steps);
  for (int64_t rows = row_begin; rows < row_end; rows += block) {
    const int64_t end = std::min(rows + block, row_end);
    if (steps == k) {
      multiply_block<T>(products, count, output, rows, end, n);
      continue;
    }
    ProductOutput part = output;
    for (int64_t first = 0; first < k; first += steps) {
      const Product cut = steps_from<T>(*products, first, std::min(steps, k - first));
      multiply_block<T>(&cut, 1, part, rows, end, n);
      part.add = true;
      part.added = part.bias = nullptr;
    }
  }
}

// Elements of one panel: k rounded up to whole pairs.
template <typename T>
inline int64_t panel_elements(int64_t k) {
  return (k + T::kPair - 1) / T::kPair * T::kPair * kPanelColumns;
}

// Sixteen rows of sixteen 32-bit values, transposed in place.
inline void transpose16(__m512i (&rows)[16]) {
  __m512i pairs[16];
  for (int i = 0; i < 16; i += 2) {
    pairs[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    pairs[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
  __m512i fours[16];  // of row 4i + j: columns j, 4 + j, 8 + j and 12 + j of four rows
  for (int i = 0; i < 16; i += 4) {
    fours[i] = _mm512_unpacklo_epi64(pairs[i], pairs[i + 2]);
    fours[i + 1] = _mm512_unpackhi_epi64(pairs[i], pairs[i + 2]);
    fours[i + 2] = _mm512_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
    fours[i + 3] = _mm512_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
  }
  for (int j = 0; j < 4; ++j) {
    const __m512i a = _mm512_shuffle_i32x4(fours[j], fours[4 + j], 0x88);
    const __m512i b = _mm512_shuffle_i32x4(fours[j], fours[4 + j], 0xdd);
    const __m512i c = _mm512_shuffle_i32x4(fours[8 + j], fours[12 + j], 0x88);
    const __m512i d = _mm512_shuffle_i32x4(fours[8 + j], fours[12 + j], 0xdd);
    rows[j] = _mm512_shuffle_i32x4(a, c, 0x88);
    rows[4 + j] = _mm512_shuffle_i32x4(b, d, 0x88);
    rows[8 + j] = _mm512_shuffle_i32x4(a, c, 0xdd);
    rows[12 + j] = _mm512_shuffle_i32x4(b, d, 0xdd);
  }
}

template <typename T>
void pack_transposed(const void* source, int64_t stride, int64_t k, int64_t columns, void* panels, int64_t panel_begin,
                     int64_t panel_end) {
  using Storage = typename T::Storage;
  constexpr int64_t kStep = 16 * T::kPair;
  const auto* const rows = static_cast<const Storage*>(source);
  for (int64_t first = panel_begin * kPanelColumns; first < panel_end * kPanelColumns; first += 16) {
    Storage* const target =
        static_cast<Storage*>(panels) + first / kPanelColumns * panel_elements<T>(k) + first % kPanelColumns * T::kPair;
    for (int64_t begin = 0; begin < k; begin += kStep) {
      __m512i block[16];
      for (int64_t c = 0; c < 16; ++c) {
        const int64_t here = first + c < columns ? k - begin : 0;
        block[c] = T::load_pairs(rows + (here > 0 ? (first + c) * stride + begin : 0), here);
      }
      transpose16(block);
      for (int64_t i = begin; i < std::min(begin + kStep, k); i += T::kPair) {
        _mm512_storeu_si512(target + i * kPanelColumns, block[(i - begin) / T::kPair]);
      }
    }
  }
}

template <typename T>
void pack_rows(const void* source, int64_t stride, int64_t k, int64_t columns, void* panels, int64_t panel_begin,
               int64_t panel_end) {
  using Storage = typename T::Storage;
  for (int64_t panel = panel_begin; panel < panel_end; ++panel) {
    const int64_t column = panel * kPanelColumns, width = std::min(kPanelColumns, columns - column);
    const Storage* const rows = static_cast<const Storage*>(source) + column;
    Storage* const target = static_cast<Storage*>(panels) + panel * panel_elements<T>(k);
    const __mmask16 first = tail_mask(width), second = width > 16 ? tail_mask(width - 16) : static_cast<__mmask16>(0);
    const __mmask16 all = tail_mask(16);
    for (int64_t i = 0; i < k; i += T::kPair) {
      const Storage* const even = rows + i * stride;
      const Storage* const odd = i + 1 < k ? even + stride : nullptr;
      Storage* const to = target + i * kPanelColumns;
      T::store_step(to, even, odd, first, all);
      T::store_step(to + 16 * T::kPair, even + 16, odd == nullptr ? nullptr : odd + 16, second, all);
    }
  }
}

// Steps of k whose lines of the source stay in the cache while all tiles take their columns of them.
constexpr int64_t kStepsPacked = 32;

template <typename T>
void pack_left(const void* source, int64_t stride, int64_t k, int64_t m, void* tiles, int64_t tile_begin,
               int64_t tile_end) {
  using Storage = typename T::Storage;
  const int64_t padded = (k + T::kPair - 1) / T::kPair * T::kPair;
  for (int64_t begin = 0; begin < k; begin += kStepsPacked) {
    const int64_t end = std::min(begin + kStepsPacked, k);
    for (int64_t tile = tile_begin; tile < tile_end; ++tile) {
      const Storage* const from = static_cast<const Storage*>(source) + tile * kTileRows;
      Storage* const to = static_cast<Storage*>(tiles) + tile * padded * kTileRows;
      const __mmask16 read = tail_mask(std::min<int64_t>(kTileRows, m - tile * kTileRows));
      for (int64_t i = begin; i < end; i += T::kPair) {
        const Storage* const odd = i + 1 < k ? from + (i + 1) * stride : nullptr;
        T::store_step(to + i * kTileRows, from + i * stride, odd, read, tail_mask(kTileRows));
      }
    }
  }
}

}  // namespace
}  // namespace slipway::train
