// The paged cache of keys and values. Used by the engine's thread, which hands out pages, and read and written by the
// decoder's workers.
#pragma once

#include <cstdint>
#include <vector>

#include "agents/engine/kernels/kernels.h"
#include "agents/engine/runtime/matrix.h"

namespace slipway::runtime {

// One page holds kernels::kPageTokens positions of all layers and heads. Memory is backed when a page is first used,
// and the page given back last is handed out first.
class KvCache {
 public:
  KvCache(int64_t layers, int64_t heads, int64_t head_dim, int64_t pages);

  int64_t pages() const { return pages_; }
  int64_t free_pages() const { return static_cast<int64_t>(free_.size()); }
  int32_t allocate();  // -1 when none is free
  void release(int32_t page);

  // Page 0 of one layer and head: [kPageTokens, head_dim]; page p lies p × page_stride() floats further.
  float* keys(int64_t layer, int64_t head) const { return keys_.as<float>() + offset(layer, head); }
  float* values(int64_t layer, int64_t head) const { return values_.as<float>() + offset(layer, head); }
  int64_t page_stride() const { return heads_ * kernels::kPageTokens * head_dim_; }

  static int64_t pages_for(int64_t tokens) { return (tokens + kernels::kPageTokens - 1) / kernels::kPageTokens; }

 private:
  int64_t offset(int64_t layer, int64_t head) const {
    return layer * pages_ * page_stride() + head * kernels::kPageTokens * head_dim_;
  }

  int64_t heads_, head_dim_, pages_;
  Pages keys_, values_;
  std::vector<int32_t> free_;
};

}  // namespace slipway::runtime
