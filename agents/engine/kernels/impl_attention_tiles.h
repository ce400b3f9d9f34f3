// How attention multiplies by the pages of each format of the cache: queries by keys, weights by values. A format C
// says how queries and weights lie in the chunk's scratch, and computes some rows at once over a type W of 16 floats.
// Included by impl_attention.h alone.
#pragma once

#include <cstdint>

#include "agents/engine/kernels/impl_pack.h"
#include "agents/engine/kernels/kernels.h"

namespace slipway::kernels {
namespace {

// What weights of bytes stand for: scale · (high + low / 254).
struct PartScale {
  float scale;
  int32_t high_correction, low_correction;  // −128 · Σ bytes
};

// The chunk's scratch: as many rows as query vectors.
struct Chunk {
  int64_t width;             // head_dim, padded
  float* queries;            // [kAttentionQueries, width] in the format's own type
  float* sums;               // [kAttentionQueries, width]: weighted values
  float* scores;             // [kAttentionQueries, kAttentionKeys]
  float* weights;            // likewise, in the format's own type
  float *most, *total;       // of each query's softmax so far
  BlockScale* query_scales;  // of queries as bytes
  PartScale* weight_scales;  // of weights as bytes

  Chunk(void* scratch, int64_t head_dim) : width(padded_head(head_dim)) {
    auto* at = static_cast<float*>(scratch);
    const auto take = [&at](int64_t floats) {
      float* begin = at;
      at += kAttentionQueries * floats;
      return begin;
    };
    queries = take(width);
    sums = take(width);
    scores = take(kAttentionKeys);
    weights = take(kAttentionKeys);
    most = take(1);
    total = take(1);
    query_scales = reinterpret_cast<BlockScale*>(take(2));
    weight_scales = reinterpret_cast<PartScale*>(take(3));
  }
};

// Caches of floats: how a step of 16 elements times one of the queries' is added up.
template <typename W>
struct F32Elements {
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
struct Bf16Elements {
  using Element = uint16_t;
  static constexpr int64_t kStep = 2;
  static auto load(const uint16_t* p) { return W::load_pairs(p); }
  static auto broadcast(const uint16_t* x) { return W::broadcast_pair(x); }
  template <typename Weights, typename X>
  static auto multiply_add(typename W::Floats sum, const Weights& weights, const X& x) {
    return W::multiply_add_pairs(sum, weights, x);
  }
};

template <typename W, typename E>
struct FloatCache {
  using Element = typename E::Element;
  static constexpr int kVectors = W::kHeadVectors;

  static Element* row_of(float* rows, int64_t row, int64_t width) {
    return reinterpret_cast<Element*>(rows) + row * width;
  }

  static void set_query(const Chunk& chunk, int64_t i, const float* query, int64_t head_dim) {
    Element* out = row_of(chunk.queries, i, chunk.width);
    for (int64_t d = 0; d < head_dim; ++d) out[d] = cache_element(query[d], out);
    for (int64_t d = head_dim; d < chunk.width; ++d) out[d] = Element{};
  }

  // scores[i, 16 j …] = queries[i] · keys of page j.
  template <int ROWS, int PAGES>
  static inline void score_tile(const Chunk& chunk, int64_t row, const char* const* pages, float* out) {
    typename W::Floats sums[ROWS][PAGES];
#pragma GCC unroll 32
    for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 32
      for (int j = 0; j < PAGES; ++j) sums[i][j] = W::zero();
    }
    const Element* x = row_of(chunk.queries, row, chunk.width);
    const int64_t steps = chunk.width / E::kStep;
    for (int64_t d = 0; d < steps; ++d) {
      decltype(E::load(x)) right[PAGES];
#pragma GCC unroll 32
      for (int j = 0; j < PAGES; ++j)
        right[j] = E::load(reinterpret_cast<const Element*>(pages[j]) + d * kPageTokens * E::kStep);
#pragma GCC unroll 32
      for (int i = 0; i < ROWS; ++i) {
        const auto left = E::broadcast(x + i * chunk.width + d * E::kStep);
#pragma GCC unroll 32
        for (int j = 0; j < PAGES; ++j) sums[i][j] = E::multiply_add(sums[i][j], right[j], left);
      }
    }
#pragma GCC unroll 32
    for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 32
      for (int j = 0; j < PAGES; ++j) W::store(out + (row + i) * kAttentionKeys + j * kPageTokens, sums[i][j]);
    }
  }

  // 16 of the query's weights, from the t-th on.
  static void set_weights(const Chunk& chunk, int64_t query, int64_t t, typename W::Floats value,
                          const char* /*values*/) {
    W::store_elements(row_of(chunk.weights, query, kAttentionKeys) + t, value);
  }
  // All weights of a block are set up to the `used`-th; those up to `padded` are zeros.
  static void finish_weights(const Chunk& chunk, int64_t query, int64_t used, int64_t padded) {
    Element* weights = row_of(chunk.weights, query, kAttentionKeys);
    for (int64_t t = used; t < padded; ++t) weights[t] = Element{};
  }

  // sums[i, 16 VECTORS of them] += weights[i] · values over `count` pages.
  template <int ROWS, int VECTORS>
  static inline void value_tile(const Chunk& chunk, int64_t row, int64_t dimension, const char* const* pages,
                                int64_t count) {
    float* out = chunk.sums + row * chunk.width + dimension;
    typename W::Floats sums[ROWS][VECTORS];
#pragma GCC unroll 32
    for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 32
      for (int v = 0; v < VECTORS; ++v) sums[i][v] = W::load(out + i * chunk.width + v * 16);
    }
    const Element* x = row_of(chunk.weights, row, kAttentionKeys);
    for (int64_t page = 0; page < count; ++page, x += kPageTokens) {
      const Element* values = reinterpret_cast<const Element*>(pages[page]) + dimension * E::kStep;
      for (int64_t t = 0; t < kPageTokens; t += E::kStep, values += chunk.width * E::kStep) {
        decltype(E::load(x)) right[VECTORS];
#pragma GCC unroll 32
        for (int v = 0; v < VECTORS; ++v) right[v] = E::load(values + v * 16 * E::kStep);
#pragma GCC unroll 32
        for (int i = 0; i < ROWS; ++i) {
          const auto left = E::broadcast(x + i * kAttentionKeys + t);
#pragma GCC unroll 32
          for (int v = 0; v < VECTORS; ++v) sums[i][v] = E::multiply_add(sums[i][v], right[v], left);
        }
      }
    }
#pragma GCC unroll 32
    for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 32
      for (int v = 0; v < VECTORS; ++v) W::store(out + i * chunk.width + v * 16, sums[i][v]);
    }
  }
};

// The cache of bytes. Queries become bytes too. Weights, which the values' scales go into, become two bytes each, so
// that products of whole numbers lose nothing of them.
template <typename W>
struct ByteCache {
  static constexpr int kVectors = W::kHeadVectors > 1 ? W::kHeadVectors / 2 : 1;
  static constexpr int64_t kStep = 4;
  static constexpr float kLowSteps = 254;  // of the low byte in one of the high

  static int8_t* query_of(const Chunk& chunk, int64_t i) {
    return reinterpret_cast<int8_t*>(chunk.queries) + i * chunk.width;
  }
  static int8_t* high_of(const Chunk& chunk, int64_t i) {
    return reinterpret_cast<int8_t*>(chunk.weights) + i * kAttentionKeys;
  }
  static int8_t* low_of(const Chunk& chunk, int64_t i) { return high_of(chunk, kAttentionQueries + i); }
  static const float* scales_of_page(const char* page, int64_t width) {
    return reinterpret_cast<const float*>(page + kPageTokens * width);
  }

  static void set_query(const Chunk& chunk, int64_t i, const float* query, int64_t head_dim) {
    int8_t* out = query_of(chunk, i);
    chunk.query_scales[i] = quantize(query, head_dim, out);
    for (int64_t d = head_dim; d < chunk.width; ++d) out[d] = 0;
  }

  template <int ROWS, int PAGES>
  static inline void score_tile(const Chunk& chunk, int64_t row, const char* const* pages, float* out) {
    typename W::Ints dots[ROWS][PAGES];
#pragma GCC unroll 32
    for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 32
      for (int j = 0; j < PAGES; ++j) dots[i][j] = W::start(chunk.query_scales[row + i].correction);
    }
    const int8_t* x = query_of(chunk, row);
    for (int64_t d = 0; d < chunk.width; d += kStep) {
      typename W::Bytes right[PAGES];
#pragma GCC unroll 32
      for (int j = 0; j < PAGES; ++j)
        right[j] = W::load_bytes(reinterpret_cast<const uint8_t*>(pages[j]) + d * kPageTokens);
#pragma GCC unroll 32
      for (int i = 0; i < ROWS; ++i) {
        const auto left = W::broadcast_bytes(x + i * chunk.width + d);
#pragma GCC unroll 32
        for (int j = 0; j < PAGES; ++j) dots[i][j] = W::dot(dots[i][j], right[j], left);
      }
    }
#pragma GCC unroll 32
    for (int i = 0; i < ROWS; ++i) {
      const auto scale = W::all(chunk.query_scales[row + i].scale);
#pragma GCC unroll 32
      for (int j = 0; j < PAGES; ++j) {
        const auto scales = W::multiply(scale, W::load(scales_of_page(pages[j], chunk.width)));
        W::store(out + (row + i) * kAttentionKeys + j * kPageTokens, W::multiply(W::to_floats(dots[i][j]), scales));
      }
    }
  }

  // The scores' place holds the weights until all of a block are known.
  static void set_weights(const Chunk& chunk, int64_t query, int64_t t, typename W::Floats value, const char* values) {
    W::store(chunk.scores + query * kAttentionKeys + t,
             W::multiply(value, W::load(scales_of_page(values, chunk.width))));
  }
  static void finish_weights(const Chunk& chunk, int64_t query, int64_t used, int64_t padded) {
    const float* weights = chunk.scores + query * kAttentionKeys;
    int8_t* high = high_of(chunk, query);
    int8_t* low = low_of(chunk, query);
    const float most = largest_magnitude(weights, used);
    const float inverse = most > 0 ? 127.0F / most : 0.0F;
    int32_t high_sum = 0, low_sum = 0;
    for (int64_t t = 0; t < used; ++t) {
      const float scaled = weights[t] * inverse;
      const int32_t whole = to_nearest(scaled);
      const int32_t rest = to_nearest((scaled - static_cast<float>(whole)) * kLowSteps);
      high[t] = static_cast<int8_t>(whole);
      low[t] = static_cast<int8_t>(rest);
      high_sum += high[t];
      low_sum += low[t];
    }
    for (int64_t t = used; t < padded; ++t) high[t] = low[t] = 0;
    chunk.weight_scales[query] = {most / 127.0F, -128 * high_sum, -128 * low_sum};
  }

  template <int ROWS, int VECTORS>
  static inline void value_tile(const Chunk& chunk, int64_t row, int64_t dimension, const char* const* pages,
                                int64_t count) {
    typename W::Ints high[ROWS][VECTORS], low[ROWS][VECTORS];
#pragma GCC unroll 32
    for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 32
      for (int v = 0; v < VECTORS; ++v) {
        high[i][v] = W::start(chunk.weight_scales[row + i].high_correction);
        low[i][v] = W::start(chunk.weight_scales[row + i].low_correction);
      }
    }
    const int8_t* x = high_of(chunk, row);
    const int64_t to_low = kAttentionQueries * kAttentionKeys;
    for (int64_t page = 0; page < count; ++page, x += kPageTokens) {
      const auto* values = reinterpret_cast<const uint8_t*>(pages[page]) + dimension * kStep;
      for (int64_t t = 0; t < kPageTokens; t += kStep, values += chunk.width * kStep) {
        typename W::Bytes right[VECTORS];
#pragma GCC unroll 32
        for (int v = 0; v < VECTORS; ++v) right[v] = W::load_bytes(values + v * 16 * kStep);
#pragma GCC unroll 32
        for (int i = 0; i < ROWS; ++i) {
          const int8_t* at = x + i * kAttentionKeys + t;
          const auto left = W::broadcast_bytes(at), rest = W::broadcast_bytes(at + to_low);
#pragma GCC unroll 32
          for (int v = 0; v < VECTORS; ++v) {
            high[i][v] = W::dot(high[i][v], right[v], left);
            low[i][v] = W::dot(low[i][v], right[v], rest);
          }
        }
      }
    }
#pragma GCC unroll 32
    for (int i = 0; i < ROWS; ++i) {
      const auto scale = W::all(chunk.weight_scales[row + i].scale);
      const auto low_scale = W::all(chunk.weight_scales[row + i].scale / kLowSteps);
      float* out = chunk.sums + (row + i) * chunk.width + dimension;
#pragma GCC unroll 32
      for (int v = 0; v < VECTORS; ++v, out += 16) {
        auto sum = W::multiply_add(W::to_floats(high[i][v]), scale, W::load(out));
        W::store(out, W::multiply_add(W::to_floats(low[i][v]), low_scale, sum));
      }
    }
  }
};

}  // namespace
}  // namespace slipway::kernels
