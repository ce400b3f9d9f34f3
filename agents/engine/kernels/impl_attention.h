// Causal attention over the paged cache, for some query vectors at once and in blocks of kAttentionKeys positions with
// a running softmax (Milakov and Gimelshein 2018, as FlashAttention has it). Blocks begin at fixed positions and masked
// weights are exactly zero, so a query's result does not depend on its neighbours. Included by the levels' files alone.
#pragma once

#include <cstdint>

#include "agents/engine/kernels/impl_attention_tiles.h"
#include "agents/engine/kernels/kernels.h"

namespace slipway::kernels {
namespace {

constexpr float kMinusInfinity = -__builtin_inff();

template <typename W, typename C, int ROWS>
inline void score_rows(const Chunk& chunk, int64_t row, const char* const* pages, int64_t count) {
  int64_t page = 0;
  for (; page + W::kPanels <= count; page += W::kPanels) {
    C::template score_tile<ROWS, W::kPanels>(chunk, row, pages + page, chunk.scores + page * kPageTokens);
  }
  for (; page < count; ++page)
    C::template score_tile<ROWS, 1>(chunk, row, pages + page, chunk.scores + page * kPageTokens);
}

template <typename W, typename C, int ROWS>
inline void value_rows(const Chunk& chunk, int64_t row, const char* const* pages, int64_t count) {
  constexpr int kVectors = C::kVectors;
  int64_t d = 0;
  for (; d + kVectors * 16 <= chunk.width; d += kVectors * 16) {
    C::template value_tile<ROWS, kVectors>(chunk, row, d, pages, count);
  }
  for (; d < chunk.width; d += 16) C::template value_tile<ROWS, 1>(chunk, row, d, pages, count);
}

// The rows in tiles of ROWS, then the rest in smaller ones.
template <typename W, typename C, int ROWS, bool SCORES>
inline void over_queries(const Chunk& chunk, int64_t row, int64_t queries, const char* const* pages, int64_t count) {
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
inline void fold_block(const Chunk& chunk, int64_t query, int64_t first, int64_t length, const char* const* values,
                       int64_t pages, float scale, float softcap) {
  float* scores = chunk.scores + query * kAttentionKeys;
  const int64_t padded = pages * kPageTokens;
  if (length <= first) {
    C::finish_weights(chunk, query, 0, padded);
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
    C::set_weights(chunk, query, t, value, values[t / kPageTokens]);
  }
  C::finish_weights(chunk, query, used, padded);
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
  const Chunk chunk(call.scratch, call.head_dim);
  for (int64_t i = 0; i < queries; ++i) {
    const int64_t row = (first + i) / call.heads, head = (first + i) % call.heads;
    const float* query = call.queries + row * call.query_stride + head * call.head_dim;
    C::set_query(chunk, i, query, call.head_dim);
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
    const char* keys[kPages];
    const char* values[kPages];
    int64_t pages = 0;
    for (; pages < kPages && begin + pages * kPageTokens < length; ++pages) {
      const int64_t offset = call.pages[begin / kPageTokens + pages] * call.page_bytes;
      keys[pages] = static_cast<const char*>(call.keys) + offset;
      values[pages] = static_cast<const char*>(call.values) + offset;
    }
    over_queries<W, C, W::kRows, true>(chunk, 0, queries, keys, pages);
    for (int64_t i = 0; i < queries; ++i) {
      const int64_t visible = call.position + (first + i) / call.heads + 1 - begin;
      const int64_t hidden = call.window > 0 && visible > call.window ? visible - call.window : 0;
      fold_block<W, C>(chunk, i, hidden, visible < kAttentionKeys ? visible : kAttentionKeys, values, pages, call.scale,
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
    switch (call.format) {
      case CacheFormat::kF32:
        attention_chunk<W, FloatCache<W, F32Elements<W>>>(call, first, count);
        break;
      case CacheFormat::kBF16:
        attention_chunk<W, FloatCache<W, Bf16Elements<W>>>(call, first, count);
        break;
      case CacheFormat::kInt8:
        attention_chunk<W, ByteCache<W>>(call, first, count);
        break;
    }
  }
}

}  // namespace
}  // namespace slipway::kernels
