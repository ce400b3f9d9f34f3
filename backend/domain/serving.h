// What a serving engine measured between two readings of its running totals: pure functions. The readings are kept as
// they came, so that the figures of any two of them are exact, however many between were thinned out.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace slipway::domain {

// Observations up to each bound, and of all: one count more than bounds. Rising.
struct CumulativeHistogram {
  std::vector<double> bounds;
  std::vector<int64_t> counts;
};

// One reading of an engine's metrics, under their Prometheus names.
struct ReplicaReading {
  std::string attempt_id;
  int64_t time_ms = 0;
  int64_t memory_bytes = 0;
  std::map<std::string, double> values;
  std::map<std::string, CumulativeHistogram> histograms;

  // 0 when it is not there.
  double value(const std::string& name) const;
};

// Seconds; nothing where nothing was observed.
struct Percentiles {
  std::optional<double> p50, p95, p99;
};

struct ServingSample {
  std::string attempt_id;
  int64_t time_ms = 0;
  double interval_s = 0;
  int64_t memory_bytes = 0;
  int64_t running = 0, waiting = 0;
  double kv_cache_usage = 0;  // 0 to 1
  double prompt_tokens_per_s = 0, generation_tokens_per_s = 0, requests_per_s = 0;
  std::optional<double> prefix_cache_hits;  // share of the prompt tokens looked for, 0 to 1
  int64_t preemptions = 0;
  int64_t adapters = 0, adapters_in_memory = 0;
  Percentiles first_token, inter_token;
};

// The q-quantile (0 to 1) of what was observed between the two, interpolated within its bucket as Prometheus'
// histogram_quantile does: the first bucket begins at 0, and the last, which has no end, gives its beginning. Nothing
// when there was no observation or the buckets differ.
std::optional<double> quantile(const CumulativeHistogram& before, const CumulativeHistogram& after, double q);

// Nothing when no time passed, or when the totals began anew: another attempt, or an engine that was started again.
std::optional<ServingSample> between(const ReplicaReading& before, const ReplicaReading& after);

}  // namespace slipway::domain
