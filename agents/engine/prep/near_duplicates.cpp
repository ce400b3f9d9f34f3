#include "agents/engine/prep/near_duplicates.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace slipway::prep {
namespace {

constexpr int kMaxSignature = 128;
constexpr double kRecall = 0.995;
constexpr uint64_t kSeed = 0x5117'4A7D'0000'0001ULL;

// The finaliser of SplitMix64 (Steele, Lea and Flood 2014): a good mix of 64 bits.
uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27U)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31U);
}

uint64_t hash_bytes(std::string_view bytes) {
  uint64_t hash = 0xCBF29CE484222325ULL;  // FNV-1a, then mixed
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
  return mix(hash);
}

}  // namespace

Banding choose_banding(double threshold) {
  for (int rows = 16; rows > 1; --rows) {
    const int bands = kMaxSignature / rows;
    if (1.0 - std::pow(1.0 - std::pow(threshold, rows), bands) >= kRecall) return {bands, rows};
  }
  return {kMaxSignature, 1};
}

NearDuplicates::NearDuplicates(const NearDuplicateOptions& options, const std::filesystem::path& folder)
    : options_(options), banding_(choose_banding(options.threshold)), sets_(folder) {
  uint64_t state = kSeed;
  for (int i = 0; i < banding_.bands * banding_.rows; ++i) {
    multipliers_.push_back(mix(state++) | 1U);
    summands_.push_back(mix(state++));
  }
}

std::vector<uint64_t> NearDuplicates::ngrams(std::string_view key) const {
  // Where each unit begins; a unit is a character, or a word (single spaces stand between words).
  std::vector<size_t> starts;
  for (size_t i = 0; i < key.size(); ++i) {
    const bool begins = options_.unit == NgramUnit::kWord ? (i == 0 || key[i - 1] == ' ')
                                                          : (static_cast<unsigned char>(key[i]) & 0xC0U) != 0x80U;
    if (begins) starts.push_back(i);
  }
  std::vector<uint64_t> hashes;
  const auto size = static_cast<size_t>(options_.ngram_size);
  if (starts.empty()) return hashes;
  if (starts.size() <= size) {
    hashes.push_back(hash_bytes(key));
    return hashes;
  }
  starts.push_back(key.size());
  hashes.reserve(starts.size() - size);
  for (size_t i = 0; i + size < starts.size(); ++i) {
    std::string_view ngram = key.substr(starts[i], starts[i + size] - starts[i]);
    if (options_.unit == NgramUnit::kWord && ngram.ends_with(' ')) ngram.remove_suffix(1);
    hashes.push_back(hash_bytes(ngram));
  }
  std::sort(hashes.begin(), hashes.end());
  hashes.erase(std::unique(hashes.begin(), hashes.end()), hashes.end());
  return hashes;
}

std::vector<uint64_t> NearDuplicates::band_keys(const std::vector<uint64_t>& ngrams) const {
  std::vector<uint64_t> keys;
  for (int band = 0; band < banding_.bands; ++band) {
    uint64_t key = mix(static_cast<uint64_t>(band));
    for (int row = 0; row < banding_.rows; ++row) {
      const auto i = static_cast<size_t>(band * banding_.rows + row);
      uint64_t least = std::numeric_limits<uint64_t>::max();
      for (const uint64_t ngram : ngrams) least = std::min(least, mix(ngram * multipliers_[i] + summands_[i]));
      key = mix(key ^ least);
    }
    keys.push_back(key);
  }
  return keys;
}

std::optional<NearDuplicates::Match> NearDuplicates::find_or_add(std::string_view key, int64_t id) {
  const std::vector<uint64_t> set = ngrams(key);
  if (set.empty()) return std::nullopt;
  const std::vector<uint64_t> keys = band_keys(set);
  std::vector<uint32_t> candidates;
  for (const uint64_t band : keys) {
    const auto [begin, end] = buckets_.equal_range(band);
    for (auto it = begin; it != end; ++it) candidates.push_back(it->second);
  }
  std::sort(candidates.begin(), candidates.end());
  candidates.erase(std::unique(candidates.begin(), candidates.end()), candidates.end());
  std::vector<uint64_t> other;
  for (const uint32_t candidate : candidates) {
    const Text& text = texts_[candidate];
    // Sets of too different sizes cannot be that similar.
    const double smaller = std::min<double>(text.count, static_cast<double>(set.size()));
    const double larger = std::max<double>(text.count, static_cast<double>(set.size()));
    if (smaller < options_.threshold * larger) continue;
    other.resize(text.count);
    sets_.read(text.offset, other.data(), other.size() * sizeof(uint64_t));
    const double similarity = jaccard(set, other);
    if (similarity >= options_.threshold) return Match{text.id, similarity};
  }
  const auto index = static_cast<uint32_t>(texts_.size());
  texts_.push_back({id, sets_.append(set.data(), set.size() * sizeof(uint64_t)), static_cast<uint32_t>(set.size())});
  for (const uint64_t band : keys) buckets_.emplace(band, index);
  return std::nullopt;
}

double jaccard(const std::vector<uint64_t>& a, const std::vector<uint64_t>& b) {
  size_t common = 0;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    if (a[i] == b[j]) {
      ++common;
      ++i;
      ++j;
    } else if (a[i] < b[j]) {
      ++i;
    } else {
      ++j;
    }
  }
  const size_t total = a.size() + b.size() - common;
  return total == 0 ? 0.0 : static_cast<double>(common) / static_cast<double>(total);
}

}  // namespace slipway::prep
