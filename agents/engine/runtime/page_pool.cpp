#include "agents/engine/runtime/page_pool.h"

#include <algorithm>
#include <bit>

namespace slipway::runtime {

PagePool::PagePool(KvCache& cache, bool sharing)
    : cache_(cache),
      sharing_(sharing),
      states_(static_cast<size_t>(cache.pages())),
      firsts_(std::bit_ceil(static_cast<size_t>(cache.pages()) + 1), -1) {}

// SplitMix64's finaliser over each part. Equality is of all the tokens, so a collision costs time alone.
size_t PagePool::hash_of(const Key& key) {
  uint64_t hash = key.parent;
  for (const int32_t token : key.tokens) {
    hash += static_cast<uint32_t>(token) + 0x9e3779b97f4a7c15ULL;
    hash = (hash ^ (hash >> 30U)) * 0xbf58476d1ce4e5b9ULL;
    hash ^= hash >> 27U;
  }
  return hash;
}

PagePool::Key PagePool::key_of(PrefixNode parent, std::span<const int32_t> tokens) {
  Key key;
  key.parent = parent;
  std::copy_n(tokens.begin(), key.tokens.size(), key.tokens.begin());
  return key;
}

void PagePool::forget(int32_t page) {
  State& state = states_[static_cast<size_t>(page)];
  int32_t* link = &first_of(state.key);
  while (*link != page) link = &states_[static_cast<size_t>(*link)].next;
  *link = state.next;
  state.node = 0;
}

int32_t PagePool::allocate() {
  int32_t page = cache_.allocate();
  if (page < 0) {
    if (unused_.empty()) return -1;
    page = unused_.front();
    unused_.pop_front();
    forget(page);
  }
  states_[static_cast<size_t>(page)].users = 1;
  return page;
}

void PagePool::release(int32_t page) {
  State& state = states_[static_cast<size_t>(page)];
  if (--state.users > 0) return;
  if (state.node == 0) {
    cache_.release(page);
  } else {
    state.place = unused_.insert(unused_.end(), page);
  }
}

int32_t PagePool::peek(PrefixNode parent, std::span<const int32_t> tokens) const {
  if (!sharing_) return -1;
  const Key key = key_of(parent, tokens);
  int32_t page = firsts_[hash_of(key) & (firsts_.size() - 1)];
  while (page >= 0 && states_[static_cast<size_t>(page)].key != key) page = states_[static_cast<size_t>(page)].next;
  return page;
}

int32_t PagePool::find(PrefixNode parent, std::span<const int32_t> tokens) {
  const int32_t page = peek(parent, tokens);
  if (page < 0) return -1;
  State& state = states_[static_cast<size_t>(page)];
  if (state.users++ == 0) unused_.erase(state.place);
  return page;
}

int32_t PagePool::enter(int32_t page, PrefixNode parent, std::span<const int32_t> tokens) {
  State& state = states_[static_cast<size_t>(page)];
  if (!sharing_ || state.node != 0) return page;
  const int32_t other = find(parent, tokens);
  if (other >= 0) {
    release(page);
    return other;
  }
  state.key = key_of(parent, tokens);
  state.node = ++last_node_;
  int32_t& first = first_of(state.key);
  state.next = first;
  first = page;
  return page;
}

}  // namespace slipway::runtime
