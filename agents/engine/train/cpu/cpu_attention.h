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
// Heads of one key head whose gradients are added up before they leave the registers.
constexpr int64_t kHeadsAtOnce = 4;

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

inline void cap_scores(float* scores, int64_t count, float cap) {
  const __m512 high = _mm512_set1_ps(cap), inverse = _mm512_set1_ps(1.0F / cap);
  for (int64_t i = 0; i < count; i += 16) {
    const __mmask16 mask = tail_mask(count - i);
    const __m512 x = _mm512_maskz_loadu_ps(mask, scores + i);
    _mm512_mask_storeu_ps(scores + i, mask, _mm512_mul_ps(high, tanh16(_mm512_mul_ps(x, inverse))));
  }
}

// scores of the keys -> probabilities in T, zero outside [begin, end) up to `width`. Returns the log-sum-exp; the
// scores are lost.
template <typename T>
inline float softmax_row(float* scores, int64_t begin, int64_t end, int64_t width, typename T::Storage* out) {
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
    const __m512 power = exp16(_mm512_sub_ps(_mm512_maskz_loadu_ps(mask, scores + i), shift));
    sum = _mm512_mask_add_ps(sum, mask, sum, power);
    _mm512_mask_storeu_ps(scores + i, mask, power);
  }
  const float total = _mm512_reduce_add_ps(sum);
  const __m512 norm = _mm512_set1_ps(1.0F / total);
  for (int64_t i = 0; i < begin; ++i) out[i] = 0;
  for (int64_t i = begin; i < end; i += 16) {
    const __mmask16 mask = tail_mask(end - i);
    T::store(out + i, _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, scores + i), norm), mask);
  }
  for (int64_t i = end; i < width; ++i) out[i] = 0;
  return top + std::log(total);
}

// Some queries of a document, one after the other, and the keys that they see.
struct QueryBlock {
  QueryBlock(const AttentionShape& shape, int64_t first)
      : begin(first), rows(std::min(kQueries, shape.length - first)), keys(keys_of(shape, first, first + rows)) {}

  int64_t count() const { return keys.end - keys.begin; }
  // Calls use(first row, end row, keys) for each tile of rows with as many keys as its last row sees.
  template <typename Use>
  void for_each_tile(Use use) const {
    for (int64_t row = 0; row < rows; row += kTileRows) {
      const int64_t end = std::min(row + kTileRows, rows);
      use(row, end, begin + end - keys.begin);
    }
  }

  int64_t begin, rows;
  KeyRange keys;
};

// scores [rows, keys] of f32 = scale · query · keysᵀ, as far as each tile of rows sees.
template <typename T>
inline void scores_of(const QueryBlock& block, const typename T::Storage* query, int64_t query_stride, int64_t d,
                      const typename T::Storage* panels, float* scores, int64_t stride, float scale) {
  Product product;
  product.left = query;
  product.left_row_stride = query_stride;
  product.right = panels + block.keys.begin / kPanelColumns * panel_elements<T>(d);
  product.panel_stride = panel_elements<T>(d);
  product.k = d;
  ProductOutput output;
  output.data = scores;
  output.stride = stride;
  output.is_f32 = true;
  output.scale = scale;
  block.for_each_tile(
      [&](int64_t row, int64_t end, int64_t keys) { multiply<T>(&product, 1, output, row, end, keys); });
}

// target [rows, d] = left [rows, keys] · right [keys, d], all in T's storage, over the keys that each tile sees.
template <typename T>
inline void multiply_by_rows(const QueryBlock& block, const typename T::Storage* left, int64_t left_stride,
                             const typename T::Storage* right, int64_t right_stride, int64_t d,
                             typename T::Storage* target, int64_t target_stride) {
  Product product;
  product.left = left;
  product.left_row_stride = left_stride;
  product.right = right;
  product.right_side = RightSide::kRows;
  product.right_stride = right_stride;
  ProductOutput output;
  output.data = target;
  output.stride = target_stride;
  block.for_each_tile([&](int64_t row, int64_t end, int64_t keys) {
    product.k = keys;
    multiply<T>(&product, 1, output, row, end, d);
  });
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
      const QueryBlock block(shape, begin);
      const int64_t first = block.keys.begin, padded = round_up(block.count(), 2);
      scores_of<T>(block, query + begin * shape.row_stride, shape.row_stride, d, keys_packed.get(), scores.get(),
                   stride, shape.scale);
      for (int64_t i = 0; i < block.rows; ++i) {
        float* const row = scores.get() + i * stride;
        const int64_t end = begin + i + 1 - first;
        if (shape.softcap > 0) cap_scores(row, end, shape.softcap);
        heads.log_sum_exp[head * length + begin + i] =
            softmax_row<T>(row, first_key(shape, begin + i) - first, end, padded, probabilities.get() + i * stride);
      }
      multiply_by_rows<T>(block, probabilities.get(), stride,
                          static_cast<const Storage*>(heads.value) + first * shape.row_stride, shape.row_stride, d,
                          static_cast<Storage*>(heads.output) + head * d + begin * shape.output_row_stride,
                          shape.output_row_stride);
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

// One head's part of a sum over its queries: left [rows, keys] with `left_stride`, right [rows, d].
template <typename T>
struct HeadRows {
  const typename T::Storage *left, *right;
};

// target [keys, d] f32 += Σ leftᵀ·right over the heads. A tile of keys begins with the first query that sees it.
template <typename T>
inline void add_transposed(const QueryBlock& block, const HeadRows<T>* heads, int count, int64_t left_stride,
                           int64_t right_stride, typename T::Storage* tiles, int64_t d, float* target) {
  const int64_t keys = block.count(), tile_stride = round_up(block.rows, T::kPair) * kTileRows;
  const int64_t tile_count = (keys + kTileRows - 1) / kTileRows;
  Product products[kHeadsAtOnce];
  for (int i = 0; i < count; ++i) {
    Product& product = products[i];
    product.left = tiles + i * tile_count * tile_stride;
    pack_left<T>(heads[i].left, left_stride, block.rows, keys, tiles + i * tile_count * tile_stride, 0, tile_count);
    product.left_row_stride = T::kPair;
    product.left_k_stride = kTileRows;
    product.left_tile_stride = tile_stride;
    product.right = heads[i].right;
    product.right_side = RightSide::kRows;
    product.right_stride = right_stride;
    product.k = block.rows;
  }
  ProductOutput output;
  output.data = target;
  output.stride = d;
  output.is_f32 = true;
  output.add = true;
  const int64_t seen_by_all = std::min(keys, (block.begin - block.keys.begin + 1) / kTileRows * kTileRows);
  multiply<T>(products, count, output, 0, seen_by_all, d);
  for (int64_t key = seen_by_all; key < keys; key += kTileRows) {
    const int64_t first = std::max<int64_t>(0, block.keys.begin + key - block.begin) / T::kPair * T::kPair;
    Product parts[kHeadsAtOnce];
    for (int i = 0; i < count; ++i) parts[i] = steps_from<T>(products[i], first, block.rows - first);
    multiply<T>(parts, count, output, key, std::min(key + kTileRows, keys), d);
  }
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

// Up to kHeadsAtOnce heads of one block of queries, whose gradients of keys and values are one sum.
template <typename T>
class BackwardBlock {
 public:
  using Storage = typename T::Storage;
  BackwardBlock(const AttentionShape& shape, const AttentionHeads& heads)
      : shape_(shape),
        heads_(heads),
        stride_(round_up(shape.length, kPanelColumns) + 32),
        size_(kQueries * stride_),
        panels_((shape.length + kPanelColumns - 1) / kPanelColumns),
        keys_(panels_ * panel_elements<T>(shape.head_dim)),
        values_(panels_ * panel_elements<T>(shape.head_dim)),
        probabilities_(heads_at_once() * size_),
        dscores_(heads_at_once() * size_),
        tiles_(heads_at_once() * size_),
        scores_(size_),
        dprobabilities_(size_) {
    pack_transposed<T>(heads.key, shape.row_stride, shape.head_dim, shape.length, keys_.get(), 0, panels_);
    pack_transposed<T>(heads.value, shape.row_stride, shape.head_dim, shape.length, values_.get(), 0, panels_);
  }

  int64_t heads_at_once() const { return std::min<int64_t>(kHeadsAtOnce, shape_.heads_per_kv); }

  // Heads [first, end) of the queries from `begin` on.
  void run(int64_t begin, int64_t first, int64_t end, float* dkey, float* dvalue) {
    const QueryBlock block(shape_, begin);
    const int64_t d = shape_.head_dim;
    HeadRows<T> of_keys[kHeadsAtOnce], of_values[kHeadsAtOnce];
    for (int64_t head = first; head < end; ++head) {
      const int64_t at = (head - first) * size_;
      gradients_of(block, head, probabilities_.get() + at, dscores_.get() + at);
      of_keys[head - first] = {dscores_.get() + at, query(head, begin)};
      of_values[head - first] = {probabilities_.get() + at, doutput(head, begin)};
    }
    const auto count = static_cast<int>(end - first);
    add_transposed<T>(block, of_keys, count, stride_, shape_.row_stride, tiles_.get(), d, dkey + block.keys.begin * d);
    add_transposed<T>(block, of_values, count, stride_, shape_.output_row_stride, tiles_.get(), d,
                      dvalue + block.keys.begin * d);
  }

 private:
  const Storage* query(int64_t head, int64_t row) const {
    return static_cast<const Storage*>(heads_.query) + head * shape_.head_dim + row * shape_.row_stride;
  }
  const Storage* doutput(int64_t head, int64_t row) const {
    return static_cast<const Storage*>(heads_.doutput) + head * shape_.head_dim + row * shape_.output_row_stride;
  }

  // P, dS and dQ of one head.
  void gradients_of(const QueryBlock& block, int64_t head, Storage* probabilities, Storage* dscores) {
    const int64_t d = shape_.head_dim, begin = block.begin, first = block.keys.begin;
    scores_of<T>(block, query(head, begin), shape_.row_stride, d, keys_.get(), scores_.get(), stride_, shape_.scale);
    scores_of<T>(block, doutput(head, begin), shape_.output_row_stride, d, values_.get(), dprobabilities_.get(),
                 stride_, 1.0F);
    const Storage* const output = static_cast<const Storage*>(heads_.output) + head * d;
    for (int64_t i = 0; i < block.rows; ++i) {
      float* const row = scores_.get() + i * stride_;
      const int64_t end = begin + i + 1 - first;
      if (shape_.softcap > 0) cap_scores(row, end, shape_.softcap);
      const float projection = row_dot<T>(doutput(head, begin + i), output + (begin + i) * shape_.output_row_stride, d);
      score_gradient_row<T>(shape_, row, dprobabilities_.get() + i * stride_,
                            heads_.log_sum_exp[head * shape_.length + begin + i], projection,
                            first_key(shape_, begin + i) - first, end, round_up(block.count(), 2),
                            probabilities + i * stride_, dscores + i * stride_);
    }
    multiply_by_rows<T>(block, dscores, stride_, static_cast<const Storage*>(heads_.key) + first * shape_.row_stride,
                        shape_.row_stride, d,
                        static_cast<Storage*>(heads_.dquery) + head * d + begin * shape_.row_stride, shape_.row_stride);
  }

  const AttentionShape& shape_;
  const AttentionHeads& heads_;
  int64_t stride_, size_, panels_;  // of a block's rows, of a block; of all keys
  Scratch<Storage> keys_, values_, probabilities_, dscores_, tiles_;
  Scratch<float> scores_, dprobabilities_;
};

template <typename T>
void attention_backward(const AttentionShape& shape, const AttentionHeads& heads) {
  const int64_t length = shape.length, d = shape.head_dim;
  Scratch<float> dkey(length * d), dvalue(length * d);
  std::memset(dkey.get(), 0, static_cast<size_t>(length * d) * sizeof(float));
  std::memset(dvalue.get(), 0, static_cast<size_t>(length * d) * sizeof(float));
  BackwardBlock<T> blocks(shape, heads);
  for (int64_t head = 0; head < shape.heads_per_kv; head += kHeadsAtOnce) {
    for (int64_t begin = 0; begin < length; begin += kQueries) {
      blocks.run(begin, head, std::min(head + kHeadsAtOnce, shape.heads_per_kv), dkey.get(), dvalue.get());
    }
  }
  store_rows<T>(dkey.get(), length, d, heads.dkey, shape.row_stride);
  store_rows<T>(dvalue.get(), length, d, heads.dvalue, shape.row_stride);
}

}  // namespace
}  // namespace slipway::train
