// Ids of words seen before: most of a text is the same few thousand words. Used by pipeline.cpp.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string_view>
#include <vector>

#include "agents/engine/text/tokenizer.h"

namespace slipway::text {

// A table of the words last seen: each has one set of a few places, the one asked for last in front. One thread at a
// time.
class WordCache {
 public:
  WordCache();

  // Appends the ids of `word` when it is known; else remembers its place for the put() that follows.
  bool get(std::string_view word, std::vector<TokenId>& out);
  void put(std::span<const TokenId> ids);

 private:
  static constexpr size_t kSets = 4096, kWays = 4;  // a megabyte
  static constexpr size_t kMaxBytes = 31;
  static constexpr size_t kMaxIds = 7;

  struct alignas(64) Slot {
    std::array<uint64_t, 4> key{};  // the word, and its length plus one in the last byte: an empty slot fits no word
    std::array<TokenId, kMaxIds> ids{};
    uint32_t count = 0;
  };

  std::vector<Slot> slots_;
  std::array<uint64_t, 4> key_{};  // of the last get()
  Slot* set_ = nullptr;            // where it belongs; null when it is too long
};

// A few caches, lent to one encode() at a time; who finds none free works without.
class WordCaches {
 public:
  class Lease {
   public:
    Lease() = default;
    explicit Lease(WordCache* cache, std::unique_lock<std::mutex> lock) : cache_(cache), lock_(std::move(lock)) {}
    WordCache* operator->() const { return cache_; }
    explicit operator bool() const { return cache_ != nullptr; }

   private:
    WordCache* cache_ = nullptr;
    std::unique_lock<std::mutex> lock_;
  };

  // Any thread; never waits.
  Lease lend();

 private:
  struct Entry {
    std::mutex mutex;
    std::unique_ptr<WordCache> cache;  // made when it is first lent
  };
  std::array<Entry, 8> entries_;
};

}  // namespace slipway::text
