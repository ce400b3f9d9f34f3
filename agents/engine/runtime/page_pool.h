// Which pages of the KV cache are in use, by how many, and which full ones hold which tokens: sequences with the same
// beginning share its pages. Used by the scheduler, on the engine's thread alone.
#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <span>
#include <vector>

#include "agents/engine/kernels/kernels.h"
#include "agents/engine/runtime/kv_cache.h"

namespace slipway::runtime {

// Names what a chain of full pages holds, from the first token on: the node of its last page. A chain begins at a root;
// the base model and each adapter have their own, since their keys and values differ for the same tokens.
using PrefixNode = uint64_t;
inline constexpr PrefixNode kBaseRoot = PrefixNode{1} << 63U;  // roots have the highest bit, nodes of pages do not

class PagePool {
 public:
  // `sharing`: whether full pages can be found again.
  PagePool(KvCache& cache, bool sharing);

  int64_t pages() const { return cache_.pages(); }
  // Pages that allocate() can still give: free ones, and those that nobody uses but that may be found again.
  int64_t available() const { return cache_.free_pages() + static_cast<int64_t>(unused_.size()); }

  // A page with one user; the one unused for longest loses what it holds when none is free. -1: all are in use.
  int32_t allocate();
  // One user less.
  void release(int32_t page);

  // The page that holds `tokens` (kPageTokens of them) after `parent`: -1 when there is none. find() makes the caller
  // one more of its users, peek() does not.
  int32_t find(PrefixNode parent, std::span<const int32_t> tokens);
  int32_t peek(PrefixNode parent, std::span<const int32_t> tokens) const;

  // Says that `page`, which the caller uses, holds `tokens` after `parent`, computed in full. Returns the page to use
  // from now on: another when one holds the same already, the same bits, in which case `page` is released.
  int32_t enter(int32_t page, PrefixNode parent, std::span<const int32_t> tokens);

  // Of a page that was found or entered; 0 without sharing.
  PrefixNode node(int32_t page) const { return states_[static_cast<size_t>(page)].node; }
  bool used(int32_t page) const { return states_[static_cast<size_t>(page)].users > 0; }
  bool sharing() const { return sharing_; }

 private:
  struct Key {
    PrefixNode parent = 0;
    std::array<int32_t, kernels::kPageTokens> tokens{};
    bool operator==(const Key&) const = default;
  };
  struct State {
    int64_t users = 0;
    PrefixNode node = 0;  // 0: cannot be found
    Key key;
    int32_t next = -1;                   // page with the same hash; only while it can be found
    std::list<int32_t>::iterator place;  // in unused_, when there
  };

  static Key key_of(PrefixNode parent, std::span<const int32_t> tokens);
  static size_t hash_of(const Key& key);
  // The first page whose key has this hash; -1: none.
  int32_t& first_of(const Key& key) { return firsts_[hash_of(key) & (firsts_.size() - 1)]; }
  void forget(int32_t page);

  KvCache& cache_;
  const bool sharing_;
  std::vector<State> states_;    // by page
  std::vector<int32_t> firsts_;  // by hash: pages that can be found, chained by `next`; nothing is allocated for them
  std::list<int32_t> unused_;    // findable pages without users, the one unused for longest first
  PrefixNode last_node_ = 0;
};

}  // namespace slipway::runtime
