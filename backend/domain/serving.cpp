#include "backend/domain/serving.h"

#include <algorithm>

namespace slipway::domain {
namespace {

constexpr char kFirstToken[] = "vllm:time_to_first_token_seconds";
constexpr char kInterToken[] = "vllm:inter_token_latency_seconds";
const char* const kTotals[] = {"vllm:prompt_tokens_total", "vllm:generation_tokens_total", "vllm:request_success_total",
                               "vllm:prefix_cache_queries_total", "vllm:num_preemptions_total"};

Percentiles percentiles(const ReplicaReading& before, const ReplicaReading& after, const char* name) {
  const auto from = before.histograms.find(name), to = after.histograms.find(name);
  if (from == before.histograms.end() || to == after.histograms.end()) return {};
  const auto at = [&](double q) { return quantile(from->second, to->second, q); };
  return {at(0.5), at(0.95), at(0.99)};
}

}  // namespace

double ReplicaReading::value(const std::string& name) const {
  const auto found = values.find(name);
  return found == values.end() ? 0 : found->second;
}

std::optional<double> quantile(const CumulativeHistogram& before, const CumulativeHistogram& after, double q) {
  if (before.bounds != after.bounds || before.counts.size() != after.counts.size() ||
      after.counts.size() != after.bounds.size() + 1) {
    return std::nullopt;
  }
  const auto count = [&](size_t i) { return static_cast<double>(after.counts[i] - before.counts[i]); };
  const size_t last = after.bounds.size();
  const double total = count(last);
  if (total <= 0) return std::nullopt;
  const double rank = q * total;
  for (size_t i = 0; i < last; ++i) {
    if (count(i) < rank) continue;
    const double begin = i == 0 ? 0 : after.bounds[i - 1], below = i == 0 ? 0 : count(i - 1);
    const double inside = count(i) - below;
    if (inside <= 0) return begin;
    return begin + (after.bounds[i] - begin) * (rank - below) / inside;
  }
  return last == 0 ? std::nullopt : std::optional(after.bounds[last - 1]);
}

std::optional<ServingSample> between(const ReplicaReading& before, const ReplicaReading& after) {
  if (before.attempt_id != after.attempt_id || after.time_ms <= before.time_ms) return std::nullopt;
  const auto gained = [&](const char* name) { return after.value(name) - before.value(name); };
  if (std::any_of(std::begin(kTotals), std::end(kTotals), [&](const char* name) { return gained(name) < 0; })) {
    return std::nullopt;
  }
  ServingSample sample;
  sample.attempt_id = after.attempt_id;
  sample.time_ms = after.time_ms;
  sample.interval_s = static_cast<double>(after.time_ms - before.time_ms) / 1000.0;
  sample.memory_bytes = after.memory_bytes;
  sample.running = static_cast<int64_t>(after.value("vllm:num_requests_running"));
  sample.waiting = static_cast<int64_t>(after.value("vllm:num_requests_waiting"));
  sample.kv_cache_usage = after.value("vllm:kv_cache_usage_perc");
  sample.prompt_tokens_per_s = gained("vllm:prompt_tokens_total") / sample.interval_s;
  sample.generation_tokens_per_s = gained("vllm:generation_tokens_total") / sample.interval_s;
  sample.requests_per_s = gained("vllm:request_success_total") / sample.interval_s;
  const double queries = gained("vllm:prefix_cache_queries_total");
  if (queries > 0) sample.prefix_cache_hits = gained("vllm:prefix_cache_hits_total") / queries;
  sample.preemptions = static_cast<int64_t>(gained("vllm:num_preemptions_total"));
  sample.adapters = static_cast<int64_t>(after.value("slipway:adapters"));
  sample.adapters_in_memory = static_cast<int64_t>(after.value("slipway:adapters_in_memory"));
  sample.first_token = percentiles(before, after, kFirstToken);
  sample.inter_token = percentiles(before, after, kInterToken);
  return sample;
}

}  // namespace slipway::domain
