#include "agents/node/replica_metrics.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <map>
#include <string_view>

namespace slipway::node {
namespace {

constexpr std::array<std::string_view, 15> kValues = {"vllm:num_requests_running",    "vllm:num_requests_waiting",
                                                      "vllm:kv_cache_usage_perc",     "vllm:prefix_cache_queries_total",
                                                      "vllm:prefix_cache_hits_total", "vllm:num_preemptions_total",
                                                      "vllm:prompt_tokens_total",     "vllm:generation_tokens_total",
                                                      "vllm:request_success_total",   "slipway:kv_cache_tokens",
                                                      "slipway:max_model_len",        "slipway:max_num_seqs",
                                                      "slipway:weight_bits",          "slipway:adapters",
                                                      "slipway:adapters_in_memory"};
constexpr std::array<std::string_view, 2> kHistograms = {"vllm:time_to_first_token_seconds",
                                                         "vllm:inter_token_latency_seconds"};
constexpr std::string_view kBucket = "_bucket";

bool read_number(std::string_view text, double& value) {
  const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
  return read.ec == std::errc() && read.ptr == text.data() + text.size();
}

// The upper end of the bucket, from the label le="0.5".
bool read_bound(std::string_view labels, double& bound) {
  constexpr std::string_view kLabel = "le=\"";
  const size_t at = labels.find(kLabel);
  if (at == std::string_view::npos) return false;
  const std::string_view rest = labels.substr(at + kLabel.size());
  const std::string_view text = rest.substr(0, rest.find('"'));
  if (text == "+Inf") {
    bound = HUGE_VAL;
    return true;
  }
  return read_number(text, bound);
}

}  // namespace

void read_metrics(const std::string& text, v1::ReplicaSample* sample) {
  std::map<std::string, std::map<double, double>> buckets;  // histogram -> bound -> count
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    const size_t space = line.rfind(' ');
    if (line.empty() || line.front() == '#' || space == std::string_view::npos) continue;
    double value = 0;
    if (!read_number(line.substr(space + 1), value)) continue;
    const size_t brace = line.find('{');
    const std::string_view name = line.substr(0, std::min(brace, space));
    const std::string_view labels = brace < space ? line.substr(brace, space - brace) : std::string_view();
    if (std::find(kValues.begin(), kValues.end(), name) != kValues.end()) {
      (*sample->mutable_values())[std::string(name)] += value;
    } else if (name.ends_with(kBucket)) {
      const std::string_view base = name.substr(0, name.size() - kBucket.size());
      double bound = 0;
      if (std::find(kHistograms.begin(), kHistograms.end(), base) != kHistograms.end() && read_bound(labels, bound)) {
        buckets[std::string(base)][bound] += value;
      }
    }
  }
  for (const auto& [name, counts] : buckets) {
    auto& histogram = (*sample->mutable_histograms())[name];
    for (const auto& [bound, count] : counts) {
      if (std::isfinite(bound)) histogram.add_bounds(bound);
      histogram.add_cumulative_counts(static_cast<int64_t>(count));
    }
  }
}

}  // namespace slipway::node
