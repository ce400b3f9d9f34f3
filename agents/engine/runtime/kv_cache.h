// The paged cache of keys and values. Used by the engine's thread, which hands out pages, and read and written by the
// decoder's workers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "agents/engine/kernels/kernels.h"
#include "agents/engine/runtime/matrix.h"

namespace slipway::runtime {

// One page holds kernels::kPageTokens positions of all layers and heads. Memory is backed when a page is first used,
// and the page given back last is handed out first.
class KvCache {
 public:
  KvCache(int64_t layers, int64_t heads, int64_t head_dim, int64_t pages, kernels::CacheFormat format);

  int64_t pages() const { return pages_; }
  int64_t free_pages() const { return static_cast<int64_t>(free_.size()); }
  int32_t allocate();  // -1 when none is free
  void release(int32_t page);

  kernels::CacheFormat format() const { return format_; }
  // Page 0 of one layer and head, as the kernels lay it out; page p lies p × page_bytes() further.
  std::byte* keys(int64_t layer, int64_t head) const { return keys_.as<std::byte>() + offset(layer, head); }
  std::byte* values(int64_t layer, int64_t head) const { return values_.as<std::byte>() + offset(layer, head); }
  int64_t page_bytes() const { return heads_ * head_bytes_; }

  static int64_t pages_for(int64_t tokens) { return (tokens + kernels::kPageTokens - 1) / kernels::kPageTokens; }

 private:
  int64_t offset(int64_t layer, int64_t head) const { return layer * pages_ * page_bytes() + head * head_bytes_; }

  kernels::CacheFormat format_;
  int64_t heads_, pages_;
  int64_t head_bytes_;  // of one page and head
  Pages keys_, values_;
  std::vector<int32_t> free_;
};

}  // namespace slipway::runtime
