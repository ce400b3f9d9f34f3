#include "agents/engine/runtime/kv_cache.h"

namespace slipway::runtime {

KvCache::KvCache(int64_t layers, int64_t heads, int64_t head_dim, int64_t pages, kernels::CacheFormat format)
    : format_(format),
      heads_(heads),
      pages_(pages),
      head_bytes_(kernels::page_head_bytes(format, head_dim)),
      keys_(static_cast<size_t>(layers * pages * page_bytes())),
      values_(static_cast<size_t>(layers * pages * page_bytes())) {
  free_.reserve(static_cast<size_t>(pages));
  for (int64_t page = pages - 1; page >= 0; --page) free_.push_back(static_cast<int32_t>(page));
}

int32_t KvCache::allocate() {
  if (free_.empty()) return -1;
  const int32_t page = free_.back();
  free_.pop_back();
  return page;
}

void KvCache::release(int32_t page) { free_.push_back(page); }

}  // namespace slipway::runtime
