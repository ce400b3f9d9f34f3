// Causal attention inside one document for one element type, forward and backward: blocks of 48 queries against all
// keys they may see, probabilities recomputed in backward from each row's log-sum-exp (Dao et al. 2022). Included by
// the AVX-512 kernels' own files alone.
#pragma once

#include <cmath>

#include "agents/engine/train/cpu/cpu_product.h"
#include "agents/engine/train/cpu/cpu_scratch.h"

namespace slipway::train {
namespace {

constexpr int64_t kQueries = 4 * kTileRows;

inline int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// The keys that a block of queries sees, the first rounded down to a panel's.
struct KeyRange {
  int64_t begin = 0, end = 0;
};

inline KeyRange keys_of(const AttentionShape& shape, int64_t query_begin, int64_t query_end) {
  const int64_t first = shape.window > 0 ? std::max<int64_t>(0, query_begin - shape.window + 1) : 0;
  return {first / kPanelColumns * kPanelColumns, query_end};
}

inline int64_t first_key(const AttentionShape& shape, int64_t query) {
  return shape.window > 0 ? std::max<int64_t>(0, query - shape.window + 1) : 0;
}

inline float horizontal_dot(const float* a, const float* b, int64_t count) {
  __m512 sum = _mm512_setzero_ps();
  for (int64_t i = 0; i < count; i += 16) {
    const __mmask16 mask = tail_mask(count - i);
    sum = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, a + i), _mm512_maskz_loadu_ps(mask, b + i), sum);
  }
  return _mm512_reduce_add_ps(sum);
}

inline void cap_scores(float* scores, int64_t count, float cap) {
  const __m512 high = _mm512_set1_ps(cap), inverse = _mm512_set1_ps(1.0F / cap);
  for (int64_t i = 0; i < count; i += 16) {
    const __mmask16 mask = tail_mask(count - i);
    const __m512 x = _mm512_maskz_loadu_ps(mask, scores + i);
    _mm512_mask_storeu_ps(scores + i, mask, _mm512_mul_ps(high, tanh16(_mm512_mul_ps(x, inverse))));
  }
}

// scores of the keys -> probabilities in T, zero outside [begin, end) up to `width`. Returns the log-sum-exp.
template <typename T>
inline float softmax_row(const float* scores, int64_t begin, int64_t end, int64_t width, typename T::Storage* out) {
  __m512 largest = _mm512_set1_ps(-INFINITY);
  for (int64_t i = begin; i < end; i += 16) {
    const __mmask16 mask = tail_mask(end - i);
    largest = _mm512_mask_max_ps(largest, mask, largest, _mm512_maskz_loadu_ps(mask, scores + i));
  }
  const float top = _mm512_reduce_max_ps(largest);
  const __m512 shift = _mm512_set1_ps(top);
  __m512 sum = _mm512_setzero_ps();
  for (int64_t i = begin; i < end; i += 16) {
    const __mmask16 mask = tail_mask(end - i);
    sum = _mm512_mask_add_ps(sum, mask, sum, exp16(_mm512_sub_ps(_mm512_maskz_loadu_ps(mask, scores + i), shift)));
  }
  const float total = top + std::log(_mm512_reduce_add_ps(sum));
  const __m512 norm = _mm512_set1_ps(total);
  for (int64_t i = 0; i < begin; ++i) out[i] = 0;
  for (int64_t i = begin; i < end; i += 16) {
    const __mmask16 mask = tail_mask(end - i);
    T::store(out + i, exp16(_mm512_sub_ps(_mm512_maskz_loadu_ps(mask, scores + i), norm)), mask);
  }
  for (int64_t i = end; i < width; ++i) out[i] = 0;
  return total;
}

template <typename T>
inline void scores_of(const AttentionShape& shape, const typename T::Storage* query, const typename T::Storage* panels,
                      KeyRange keys, int64_t rows, float* scores, int64_t stride, float scale) {
  Product product;
  product.left = query;
  product.left_row_stride = shape.row_stride;
  product.right = panels + keys.begin / kPanelColumns * panel_elements<T>(shape.head_dim);
  product.panel_stride = panel_elements<T>(shape.head_dim);
  product.k = shape.head_dim;
  ProductOutput output;
  output.data = scores;
  output.stride = stride;
  output.is_f32 = true;
  output.scale = scale;
  multiply<T>(&product, 1, output, 0, rows, keys.end - keys.begin);
}

// target (rows × d) = left (rows × count) · right (count × d), all in T's storage.
template <typename T>
inline void multiply_by_rows(const typename T::Storage* left, int64_t left_stride, const typename T::Storage* right,
                             int64_t right_stride, int64_t rows, int64_t count, int64_t d, typename T::Storage* target,
                             int64_t target_stride) {
  Product product;
  product.left = left;
  product.left_row_stride = left_stride;
  product.right = right;
  product.right_side = RightSide::kRows;
  product.right_stride = right_stride;
  product.k = count;
  ProductOutput output;
  output.data = target;
  output.stride = target_stride;
  multiply<T>(&product, 1, output, 0, rows, d);
}

template <typename T>
void attention_forward(const AttentionShape& shape, const AttentionHeads& heads) {
  using Storage = typename T::Storage;
  const int64_t length = shape.length, d = shape.head_dim, stride = round_up(length, kPanelColumns) + 32;
  const int64_t panels = (length + kPanelColumns - 1) / kPanelColumns;
  Scratch<Storage> keys_packed(panels * panel_elements<T>(d)), probabilities(kQueries * stride);
  Scratch<float> scores(kQueries * stride);
  pack_transposed<T>(heads.key, shape.row_stride, d, length, keys_packed.get(), 0, panels);
  for (int64_t head = 0; head < shape.heads_per_kv; ++head) {
    const Storage* const query = static_cast<const Storage*>(heads.query) + head * d;
    for (int64_t begin = 0; begin < length; begin += kQueries) {
      const int64_t end = std::min(begin + kQueries, length), rows = end - begin;
      const KeyRange keys = keys_of(shape, begin, end);
      const int64_t count = keys.end - keys.begin, padded = round_up(count, 2);
      scores_of<T>(shape, query + begin * shape.row_stride, keys_packed.get(), keys, rows, scores.get(), stride,
                   shape.scale);
      for (int64_t i = 0; i < rows; ++i) {
        float* const row = scores.get() + i * stride;
        if (shape.softcap > 0) cap_scores(row, count, shape.softcap);
        heads.log_sum_exp[head * length + begin + i] =
            softmax_row<T>(row, first_key(shape, begin + i) - keys.begin, begin + i + 1 - keys.begin, padded,
                           probabilities.get() + i * stride);
      }
      multiply_by_rows<T>(
          probabilities.get(), stride, static_cast<const Storage*>(heads.value) + keys.begin * shape.row_stride,
          shape.row_stride, rows, count, d,
          static_cast<Storage*>(heads.output) + head * d + begin * shape.output_row_stride, shape.output_row_stride);
    }
  }
}

// From scores and dP of one row to P and dS.
template <typename T>
inline void score_gradient_row(const AttentionShape& shape, const float* scores, const float* dprobabilities,
                               float log_sum_exp, float projection, int64_t begin, int64_t end, int64_t width,
                               typename T::Storage* probabilities, typename T::Storage* dscores) {
  for (int64_t i = 0; i < begin; ++i) probabilities[i] = dscores[i] = 0;
  const __m512 norm = _mm512_set1_ps(log_sum_exp), shift = _mm512_set1_ps(projection);
  const __m512 scale = _mm512_set1_ps(shape.scale), one = _mm512_set1_ps(1.0F);
  const __m512 inverse_cap = _mm512_set1_ps(shape.softcap > 0 ? 1.0F / shape.softcap : 0.0F);
  for (int64_t i = begin; i < end; i += 16) {
    const __mmask16 mask = tail_mask(end - i);
    const __m512 s = _mm512_maskz_loadu_ps(mask, scores + i);
    const __m512 p = exp16(_mm512_sub_ps(s, norm));
    const __m512 dp = _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, dprobabilities + i), shift);
    __m512 ds = _mm512_mul_ps(_mm512_mul_ps(p, dp), scale);
    const __m512 ratio = _mm512_mul_ps(s, inverse_cap);  // tanh, where scores are capped; else 0
    ds = _mm512_mul_ps(ds, _mm512_fnmadd_ps(ratio, ratio, one));
    T::store(probabilities + i, p, mask);
    T::store(dscores + i, ds, mask);
  }
  for (int64_t i = end; i < width; ++i) probabilities[i] = dscores[i] = 0;
}

template <typename T>
inline float row_dot(const typename T::Storage* a, const typename T::Storage* b, int64_t count) {
  __m512 sum = _mm512_setzero_ps();
  for (int64_t i = 0; i < count; i += 16) {
    const __mmask16 mask = tail_mask(count - i);
    sum = _mm512_fmadd_ps(T::load(a + i, mask), T::load(b + i, mask), sum);
  }
  return _mm512_reduce_add_ps(sum);
}

// target [keys, d] f32 += leftᵀ · right, left [rows, keys] with `stride`.
template <typename T>
inline void add_transposed(const typename T::Storage* left, int64_t stride, typename T::Storage* tiles,
                           const typename T::Storage* right, int64_t right_stride, int64_t rows, int64_t keys,
                           int64_t d, float* target) {
  const int64_t count = (keys + kTileRows - 1) / kTileRows;
  pack_left<T>(left, stride, rows, keys, tiles, 0, count);
  Product product;
  product.left = tiles;
  product.left_row_stride = T::kPair;
  product.left_k_stride = kTileRows;
  product.left_tile_stride = round_up(rows, T::kPair) * kTileRows;
  product.right = right;
  product.right_side = RightSide::kRows;
  product.right_stride = right_stride;
  product.k = rows;
  ProductOutput output;
  output.data = target;
  output.stride = d;
  output.is_f32 = true;
  output.add = true;
  multiply<T>(&product, 1, output, 0, keys, d);
}

template <typename T>
inline void store_rows(const float* source, int64_t rows, int64_t width, void* target, int64_t stride) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < width; j += 16) {
      const __mmask16 mask = tail_mask(width - j);
      T::store(static_cast<typename T::Storage*>(target) + i * stride + j,
               _mm512_maskz_loadu_ps(mask, source + i * width + j), mask);
    }
  }
}

template <typename T>
void attention_backward(const AttentionShape& shape, const AttentionHeads& heads) {
  using Storage = typename T::Storage;
  const int64_t length = shape.length, d = shape.head_dim, stride = round_up(length, kPanelColumns) + 32;
  const int64_t panels = (length + kPanelColumns - 1) / kPanelColumns;
  Scratch<Storage> keys_packed(panels * panel_elements<T>(d)), values_packed(panels * panel_elements<T>(d));
  Scratch<Storage> probabilities(kQueries * stride), dscores(kQueries * stride), tiles(kQueries * stride);
  Scratch<float> scores(kQueries * stride), dprobabilities(kQueries * stride), dkey(length * d), dvalue(length * d);
  std::memset(dkey.get(), 0, static_cast<size_t>(length * d) * sizeof(float));
  std::memset(dvalue.get(), 0, static_cast<size_t>(length * d) * sizeof(float));
  pack_transposed<T>(heads.key, shape.row_stride, d, length, keys_packed.get(), 0, panels);
  pack_transposed<T>(heads.value, shape.row_stride, d, length, values_packed.get(), 0, panels);
  AttentionShape gradient_shape = shape;  // how the output's gradient lies
  gradient_shape.row_stride = shape.output_row_stride;
  for (int64_t head = 0; head < shape.heads_per_kv; ++head) {
    const Storage* const query = static_cast<const Storage*>(heads.query) + head * d;
    const Storage* const doutput = static_cast<const Storage*>(heads.doutput) + head * d;
    const Storage* const forward = static_cast<const Storage*>(heads.output) + head * d;
    for (int64_t begin = 0; begin < length; begin += kQueries) {
      const int64_t end = std::min(begin + kQueries, length), rows = end - begin;
      const KeyRange keys = keys_of(shape, begin, end);
      const int64_t count = keys.end - keys.begin, padded = round_up(count, 2);
      scores_of<T>(shape, query + begin * shape.row_stride, keys_packed.get(), keys, rows, scores.get(), stride,
                   shape.scale);
      scores_of<T>(gradient_shape, doutput + begin * shape.output_row_stride, values_packed.get(), keys, rows,
                   dprobabilities.get(), stride, 1.0F);
      for (int64_t i = 0; i < rows; ++i) {
        float* const row = scores.get() + i * stride;
        if (shape.softcap > 0) cap_scores(row, count, shape.softcap);
        const int64_t at = (begin + i) * shape.output_row_stride;
        score_gradient_row<T>(shape, row, dprobabilities.get() + i * stride,
                              heads.log_sum_exp[head * length + begin + i], row_dot<T>(doutput + at, forward + at, d),
                              first_key(shape, begin + i) - keys.begin, begin + i + 1 - keys.begin, padded,
                              probabilities.get() + i * stride, dscores.get() + i * stride);
      }
      multiply_by_rows<T>(dscores.get(), stride, static_cast<const Storage*>(heads.key) + keys.begin * shape.row_stride,
                          shape.row_stride, rows, count, d,
                          static_cast<Storage*>(heads.dquery) + head * d + begin * shape.row_stride, shape.row_stride);
      add_transposed<T>(dscores.get(), stride, tiles.get(), query + begin * shape.row_stride, shape.row_stride, rows,
                        count, d, dkey.get() + keys.begin * d);
      add_transposed<T>(probabilities.get(), stride, tiles.get(), doutput + begin * shape.output_row_stride,
                        shape.output_row_stride, rows, count, d, dvalue.get() + keys.begin * d);
    }
  }
  store_rows<T>(dkey.get(), length, d, heads.dkey, shape.row_stride);
  store_rows<T>(dvalue.get(), length, d, heads.dvalue, shape.row_stride);
}

}  // namespace
}  // namespace slipway::train
