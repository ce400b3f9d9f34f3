#include "agents/engine/text/word_cache.h"

#include <algorithm>
#include <cstring>

namespace slipway::text {

WordCache::WordCache() : slots_(kSets * kWays) {}

bool WordCache::get(std::string_view word, std::vector<TokenId>& out) {
  if (word.size() > kMaxBytes) {
    set_ = nullptr;
    return false;
  }
  key_ = {};
  std::memcpy(key_.data(), word.data(), word.size());
  key_[3] |= static_cast<uint64_t>(word.size() + 1) << 56U;  // little-endian: the last byte
  // Multiply and fold, as in wyhash.
  uint64_t hash = (key_[0] ^ 0xa0761d6478bd642fULL) * 0xe7037ed1a0b428dbULL;
  hash = (hash ^ (hash >> 32U) ^ key_[1]) * 0x8ebc6af09c88c6e3ULL;
  if (word.size() > 16) hash = (hash ^ (hash >> 32U) ^ key_[2]) * 0x589965cc75374cc3ULL;
  hash = (hash ^ (hash >> 32U) ^ key_[3]) * 0x1d8e4e27c47d124fULL;
  set_ = &slots_[(hash >> 40U) % kSets * kWays];
  for (size_t way = 0; way < kWays; ++way) {
    const auto& key = set_[way].key;  // == calls memcmp
    if (((key[0] ^ key_[0]) | (key[1] ^ key_[1]) | (key[2] ^ key_[2]) | (key[3] ^ key_[3])) != 0) continue;
    if (way > 0) std::rotate(set_, set_ + way, set_ + way + 1);
    out.insert(out.end(), set_->ids.begin(), set_->ids.begin() + set_->count);
    return true;
  }
  return false;
}

void WordCache::put(std::span<const TokenId> ids) {
  if (set_ == nullptr || ids.size() > kMaxIds) return;
  std::copy_backward(set_, set_ + kWays - 1, set_ + kWays);
  set_->key = key_;
  std::copy(ids.begin(), ids.end(), set_->ids.begin());
  set_->count = static_cast<uint32_t>(ids.size());
}

WordCaches::Lease WordCaches::lend() {
  for (Entry& entry : entries_) {
    std::unique_lock lock(entry.mutex, std::try_to_lock);
    if (!lock.owns_lock()) continue;
    if (entry.cache == nullptr) entry.cache = std::make_unique<WordCache>();
    return Lease(entry.cache.get(), std::move(lock));
  }
  return {};
}

}  // namespace slipway::text
