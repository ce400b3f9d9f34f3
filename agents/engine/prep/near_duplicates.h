// Finds rows that nearly equal an earlier one: MinHash signatures in bands (LSH) propose, the exact Jaccard similarity
// of the n-gram sets decides (Broder 1997; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, ch. 3).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "agents/engine/prep/file_writer.h"

namespace slipway::prep {

enum class NgramUnit { kCharacter, kWord };

struct NearDuplicateOptions {
  double threshold = 0.8;  // Jaccard similarity from which on a text is a copy; 0.3 to 1
  NgramUnit unit = NgramUnit::kCharacter;
  int64_t ngram_size = 5;
};

// Bands × rows of a signature of at most 128 values.
struct Banding {
  int bands = 0;
  int rows = 0;
};

// The most selective banding that still proposes a pair at the threshold with a probability of 99.5 %.
Banding choose_banding(double threshold);

// One thread. Keeps 8 bytes a band and text in memory; the n-gram sets lie in a temporary file below `folder`.
class NearDuplicates {
 public:
  NearDuplicates(const NearDuplicateOptions& options, const std::filesystem::path& folder);

  struct Match {
    int64_t id = 0;
    double similarity = 0;
  };

  // The earlier kept text that `key` (of near_key) copies; else keeps it under `id`. A text without n-grams is kept.
  std::optional<Match> find_or_add(std::string_view key, int64_t id);

  // Sorted hashes of the distinct n-grams; a text shorter than one n-gram is one as a whole.
  std::vector<uint64_t> ngrams(std::string_view key) const;

 private:
  struct Text {
    int64_t id = 0;
    int64_t offset = 0;
    uint32_t count = 0;
  };

  std::vector<uint64_t> band_keys(const std::vector<uint64_t>& ngrams) const;

  NearDuplicateOptions options_;
  Banding banding_;
  std::vector<uint64_t> multipliers_, summands_;
  std::vector<Text> texts_;
  std::unordered_multimap<uint64_t, uint32_t> buckets_;
  ScratchFile sets_;
};

// |a and b| / |a or b| of two sorted sets.
double jaccard(const std::vector<uint64_t>& a, const std::vector<uint64_t>& b);

}  // namespace slipway::prep
