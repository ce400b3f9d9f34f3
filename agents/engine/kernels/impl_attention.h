// Causal attention over the paged cache, for some query vectors at once and in blocks of kAttentionKeys positions with
// a running softmax (Milakov and Gimelshein 2018, as FlashAttention has it). Blocks begin at fixed positions and masked
// weights are exactly zero, so a query's result does not depend on its neighbours. Included by the levels' files alone.
#pragma once

#include <cstdint>

#include "agents/engine/kernels/impl_pack.h"
#include "agents/engine/kernels/kernels.h"

namespace slipway::kernels {
namespace {

constexpr float kMinusInfinity = -__builtin_inff();

// The cache's elements: how a step of 16 of them times one of the queries' is added up.
template <typename W>
struct F32Cache {
  using Element = float;
  static constexpr int64_t kStep = 1;
  static auto load(const float* p) { return W::load(p); }
  static auto broadcast(const float* x) { return W::all(*x); }
  template <typename Weights, typename X>
  static auto multiply_add(typename W::Floats sum, const Weights& weights, const X& x) {
    return W::multiply_add(weights, x, sum);
  }
};

template <typename W>
struct Bf16Cache {
  using Element = uint16_t;
  static constexpr int64_t kStep = 2;
  static auto load(const uint16_t* p) { return W::load_pairs(p); }
  static auto broadcast(const uint16_t* x) { return W::broadcast_pair(x); }
  template <typename Weights, typename X>
  static auto multiply_add(typename W::Floats sum, const Weights& weights, const X& x) {
    return W::multiply_add_pairs(sum, weights, x);
  }
};

// The chunk's scratch: as many rows as query vectors.
template <typename Element>
struct Chunk {
  int64_t width;        // head_dim, padded
  Element* queries;     // [kAttentionQueries, width]
  float* sums;          // [kAttentionQueries, width]: weighted values
  float* scores;        // [kAttentionQueries, kAttentionKeys]
  Element* weights;     // likewise
  float *most, *total;  // of each query's softmax so far

  Chunk(void* scratch, int64_t head_dim) : width(padded_head(head_dim)) {
    auto* at = static_cast<float*>(scratch);
    const auto take = [&at](int64_t floats) {
      float* begin = at;
      at += kAttentionQueries * floats;
      return begin;
    };
    queries = reinterpret_cast<Element*>(take(width));
    sums = take(width);
    scores = take(kAttentionKeys);
    weights = reinterpret_cast<Element*>(take(kAttentionKeys));
    most = take(1);
    total = take(1);
  }
};

// scores[i, 16 j …] = queries[i] · keys of page j.
template <typename W, typename C, int ROWS, int PAGES>
inline void score_tile(const Chunk<typename C::Element>& chunk, int64_t row, const typename C::Element* const* pages,
                       float* out) {
  typename W::Floats sums[ROWS][PAGES];
#pragma GCC unroll 32
  for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 32
    for (int j = 0; j < PAGES; ++j) sums[i][j] = W::zero();
  }
  const typename C::Element* x = chunk.queries + row * chunk.width;
  const int64_t steps = chunk.width / C::kStep;
  for (int64_t d = 0; d < steps; ++d) {
    decltype(C::load(x)) right[PAGES];
#pragma GCC unroll 32
    for (int j = 0; j < PAGES; ++j) right[j] = C::load(pages[j] + d * kPageTokens * C::kStep);
#pragma GCC unroll 32
    for (int i = 0; i < ROWS; ++i) {
      const auto left = C::broadcast(x + i * chunk.width + d * C::kStep);
#pragma GCC unroll 32
      for (int j = 0; j < PAGES; ++j) sums[i][j] = C::multiply_add(sums[i][j], right[j], left);
    }
  }
#pragma GCC unroll 32
  for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 32
    for (int j = 0; j < PAGES; ++j) W::store(out + (row + i) * kAttentionKeys + j * kPageTokens, sums[i][j]);
  }
}

// sums[i, 16 VECTORS of them] += weights[i] · values over `count` pages.
template <typename W, typename C, int ROWS, int VECTORS>
inline void value_tile(const Chunk<typename C::Element>& chunk, int64_t row, int64_t dimension,
                       const typename C::Element* const* pages, int64_t count) {
  float* out = chunk.sums + row * chunk.width + dimension;
  typename W::Floats sums[ROWS][VECTORS];
#pragma GCC unroll 32
  for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 32
    for (int v = 0; v < VECTORS; ++v) sums[i][v] = W::load(out + i * chunk.width + v * 16);
  }
  const typename C::Element* x = chunk.weights + row * kAttentionKeys;
  for (int64_t page = 0; page < count; ++page, x += kPageTokens) {
    const typename C::Element* values = pages[page] + dimension * C::kStep;
    for (int64_t t = 0; t < kPageTokens; t += C::kStep, values += chunk.width * C::kStep) {
      decltype(C::load(x)) right[VECTORS];
#pragma GCC unroll 32
      for (int v = 0; v < VECTORS; ++v) right[v] = C::load(values + v * 16 * C::kStep);
#pragma GCC unroll 32
      for (int i = 0; i < ROWS; ++i) {
        const auto left = C::broadcast(x + i * kAttentionKeys + t);
#pragma GCC unroll 32
        for (int v = 0; v < VECTORS; ++v) sums[i][v] = C::multiply_add(sums[i][v], right[v], left);
      }
    }
  }
#pragma GCC unroll 32
  for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 32
    for (int v = 0; v < VECTORS; ++v) W::store(out + i * chunk.width + v * 16, sums[i][v]);
  }
}

template <typename W, typename C, int ROWS>
inline void score_rows(const Chunk<typename C::Element>& chunk, int64_t row, const typename C::Element* const* pages,
                       int64_t count) {
  int64_t page = 0;
  for (; page + W::kPanels <= count; page += W::kPanels) {
    score_tile<W, C, ROWS, W::kPanels>(chunk, row, pages + page, chunk.scores + page * kPageTokens);
  }
  for (; page < count; ++page) score_tile<W, C, ROWS, 1>(chunk, row, pages + page, chunk.scores + page * kPageTokens);
}

template <typename W, typename C, int ROWS>
inline void value_rows(const Chunk<typename C::Element>& chunk, int64_t row, const typename C::Element* const* pages,
                       int64_t count) {
  constexpr int kVectors = W::kHeadVectors;
  int64_t d = 0;
  for (; d + kVectors * 16 <= chunk.width; d += kVectors * 16) {
    value_tile<W, C, ROWS, kVectors>(chunk, row, d, pages, count);
  }
  for (; d < chunk.width; d += 16) value_tile<W, C, ROWS, 1>(chunk, row, d, pages, count);
}

// The rows in tiles of ROWS, then the rest in smaller ones.
template <typename W, typename C, int ROWS, bool SCORES>
inline void over_queries(const Chunk<typename C::Element>& chunk, int64_t row, int64_t queries,
                         const typename C::Element* const* pages, int64_t count) {
  if constexpr (ROWS > 0) {
    for (; row + ROWS <= queries; row += ROWS) {
      if constexpr (SCORES) {
        score_rows<W, C, ROWS>(chunk, row, pages, count);
      } else {
        value_rows<W, C, ROWS>(chunk, row, pages, count);
      }
    }
    if (row < queries) over_queries<W, C, ROWS - 1, SCORES>(chunk, row, queries, pages, count);
  }
}

// Scores of `padded` positions, scaled, become cap · tanh(score / cap).
inline void cap_scores(float* scores, int64_t padded, float scale, float cap) {
  for (int64_t t = 0; t < padded; ++t) scores[t] = cap * __builtin_tanhf(scores[t] * scale / cap);
}

// From the scores of one query in one block, of which those from `first` to `length` count, to its weights; folds the
// block into its softmax.
template <typename W, typename C>
inline void fold_block(const Chunk<typename C::Element>& chunk, int64_t query, int64_t first, int64_t length,
                       int64_t pages, float scale, float softcap) {
  using Element = typename C::Element;
  float* scores = chunk.scores + query * kAttentionKeys;
  Element* weights = chunk.weights + query * kAttentionKeys;
  const int64_t padded = pages * kPageTokens;
  if (length <= first) {
    for (int64_t t = 0; t < padded; ++t) weights[t] = Element{};
    return;
  }
  const int64_t used = round_up(length, kPageTokens);
  if (softcap > 0) {
    cap_scores(scores, used, scale, softcap);
    scale = 1;
  }
  for (int64_t t = 0; t < first; ++t) scores[t] = kMinusInfinity;
  for (int64_t t = length; t < used; ++t) scores[t] = kMinusInfinity;
  const auto scales = W::all(scale);
  auto most = W::all(kMinusInfinity);
  for (int64_t t = 0; t < used; t += 16) {
    const auto scaled = W::multiply(W::load(scores + t), scales);
    W::store(scores + t, scaled);
    most = W::maximum(most, scaled);
  }
  const float before = chunk.most[query], block = W::largest(most);
  const float now = block > before ? block : before;
  const auto shift = W::all(-now);
  auto sum = W::zero();
  for (int64_t t = 0; t < used; t += 16) {
    W::store(scores + t, W::exp(W::add(W::load(scores + t), shift)));
    for (int64_t masked = t; masked < first && masked < t + 16; ++masked) scores[masked] = 0;
    if (t + 16 > length) {
      for (int64_t masked = length; masked < used; ++masked) scores[masked] = 0;
    }
    const auto value = W::load(scores + t);
    sum = W::add(sum, value);
    W::store_elements(weights + t, value);
  }
  for (int64_t t = used; t < padded; ++t) weights[t] = Element{};
  if (before == kMinusInfinity) {
    chunk.total[query] = W::sum(sum);
  } else {
    float lanes[16];
    W::store(lanes, W::exp(W::all(before - now)));
    const float factor = lanes[0];
    chunk.total[query] = chunk.total[query] * factor + W::sum(sum);
    float* sums = chunk.sums + query * chunk.width;
    const auto factors = W::all(factor);
    for (int64_t d = 0; d < chunk.width; d += 16) W::store(sums + d, W::multiply(W::load(sums + d), factors));
  }
  chunk.most[query] = now;
}

// Query vectors [first, first + queries) of the call, counted row by row.
template <typename W, typename C>
inline void attention_chunk(const AttentionCall& call, int64_t first, int64_t queries) {
  using Element = typename C::Element;
  const Chunk<Element> chunk(call.scratch, call.head_dim);
  for (int64_t i = 0; i < queries; ++i) {
    const int64_t row = (first + i) / call.heads, head = (first + i) % call.heads;
    const float* query = call.queries + row * call.query_stride + head * call.head_dim;
    Element* out = chunk.queries + i * chunk.width;
    for (int64_t d = 0; d < call.head_dim; ++d) out[d] = cache_element(query[d], out);
    for (int64_t d = call.head_dim; d < chunk.width; ++d) out[d] = Element{};
    for (int64_t d = 0; d < chunk.width; ++d) chunk.sums[i * chunk.width + d] = 0;
    chunk.most[i] = kMinusInfinity;
    chunk.total[i] = 0;
  }
  const int64_t length = call.position + (first + queries - 1) / call.heads + 1;
  // The first position that any of them sees, down to where its block begins.
  const int64_t lowest = call.window > 0 ? call.position + first / call.heads + 1 - call.window : 0;
  for (int64_t begin = lowest > 0 ? lowest / kAttentionKeys * kAttentionKeys : 0; begin < length;
       begin += kAttentionKeys) {
    constexpr int64_t kPages = kAttentionKeys / kPageTokens;
    const Element* keys[kPages];
    const Element* values[kPages];
    int64_t pages = 0;
    for (; pages < kPages && begin + pages * kPageTokens < length; ++pages) {
      const int64_t offset = call.pages[begin / kPageTokens + pages] * call.page_bytes;
      keys[pages] = reinterpret_cast<const Element*>(static_cast<const char*>(call.keys) + offset);
      values[pages] = reinterpret_cast<const Element*>(static_cast<const char*>(call.values) + offset);
    }
    over_queries<W, C, W::kRows, true>(chunk, 0, queries, keys, pages);
    for (int64_t i = 0; i < queries; ++i) {
      const int64_t visible = call.position + (first + i) / call.heads + 1 - begin;
      const int64_t hidden = call.window > 0 && visible > call.window ? visible - call.window : 0;
      fold_block<W, C>(chunk, i, hidden, visible < kAttentionKeys ? visible : kAttentionKeys, pages, call.scale,
                       call.softcap);
    }
    over_queries<W, C, W::kRows, false>(chunk, 0, queries, values, pages);
  }
  for (int64_t i = 0; i < queries; ++i) {
    const int64_t row = (first + i) / call.heads, head = (first + i) % call.heads;
    float* out = call.out + row * call.out_stride + head * call.head_dim;
    const float factor = 1.0F / chunk.total[i];
    for (int64_t d = 0; d < call.head_dim; ++d) out[d] = chunk.sums[i * chunk.width + d] * factor;
  }
}

template <typename W>
void attention(const AttentionCall& call) {
  const int64_t queries = call.rows * call.heads;
  for (int64_t first = 0; first < queries; first += kAttentionQueries) {
    const int64_t count = queries - first < kAttentionQueries ? queries - first : kAttentionQueries;
    if (call.format == CacheFormat::kF32) {
      attention_chunk<W, F32Cache<W>>(call, first, count);
    } else {
      attention_chunk<W, Bf16Cache<W>>(call, first, count);
    }
  }
}

}  // namespace
}  // namespace slipway::kernels
