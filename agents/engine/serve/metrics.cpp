#include "agents/engine/serve/metrics.h"

#include <algorithm>
#include <cstdio>
#include <utility>

namespace slipway::serve {
namespace {

std::string number(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.10g", value);
  return text;
}

// A label's value: backslash, quote and line end escaped, as the format asks.
std::string escaped(const std::string& value) {
  std::string result;
  for (const char c : value) {
    if (c == '\\' || c == '"') result += '\\';
    result += c == '\n' ? std::string("\\n") : std::string(1, c);
  }
  return result;
}

void head(std::string& out, const std::string& name, const char* type, const char* help) {
  out += "# HELP " + name + " " + help + "\n# TYPE " + name + " " + type + "\n";
}

const std::vector<double>& token_bounds() {
  static const std::vector<double> bounds = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000};
  return bounds;
}

}  // namespace

void Histogram::observe(double value) {
  const auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  ++counts_[static_cast<size_t>(bucket)];
  ++count_;
  sum_ += value;
}

void Histogram::write(const std::string& name, const std::string& labels, std::string& out) const {
  int64_t total = 0;
  for (size_t i = 0; i < counts_.size(); ++i) {
    total += counts_[i];
    out += name + "_bucket{" + labels + ",le=\"" + (i < bounds_.size() ? number(bounds_[i]) : "+Inf") + "\"} " +
           std::to_string(total) + "\n";
  }
  out += name + "_sum{" + labels + "} " + number(sum_) + "\n";
  out += name + "_count{" + labels + "} " + std::to_string(count_) + "\n";
}

Metrics::Metrics(std::string model_name)
    : labels_("model_name=\"" + escaped(model_name) + "\""),
      first_token_({0.001, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.25,
                    0.5,   0.75,  1,    2.5,   5,    7.5,  10,   20,   40,   80,  160}),
      next_token_({0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01, 0.015, 0.02, 0.025, 0.05, 0.075, 0.1,
                   0.15,  0.2,   0.3,   0.4,   0.5,   0.75,  1,     2.5,  5,     7.5,  10,    20,   40,    80}),
      per_token_({0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80}),
      latency_({0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680}),
      prompt_tokens_(token_bounds()),
      generated_tokens_(token_bounds()) {
  for (const char* reason : {"stop", "length", "abort", "error"}) finished_[reason] = 0;
}

void Metrics::first_token(double seconds) {
  const std::lock_guard lock(mutex_);
  first_token_.observe(seconds);
}

void Metrics::next_token(double seconds) {
  const std::lock_guard lock(mutex_);
  next_token_.observe(seconds);
}

void Metrics::finished(const Finished& request) {
  const std::lock_guard lock(mutex_);
  ++finished_[request.reason];
  latency_.observe(request.seconds);
  if (request.generated_tokens > 1 && request.first_token_seconds >= 0) {
    per_token_.observe((request.seconds - request.first_token_seconds) /
                       static_cast<double>(request.generated_tokens - 1));
  }
  prompt_tokens_.observe(static_cast<double>(request.prompt_tokens));
  generated_tokens_.observe(static_cast<double>(request.generated_tokens));
}

void Metrics::http(const std::string& path, const std::string& method, int status) {
  const std::lock_guard lock(mutex_);
  ++http_[{path, method, std::to_string(status)}];
}

std::string Metrics::text(const runtime::EngineStats& stats) const {
  const std::lock_guard lock(mutex_);
  std::string out;
  const auto single = [&](const std::string& name, const char* type, const char* help, const std::string& value) {
    head(out, name, type, help);
    out += name + "{" + labels_ + "} " + value + "\n";
  };
  single("vllm:num_requests_running", "gauge", "Requests in the running batch.", std::to_string(stats.running));
  single("vllm:num_requests_waiting", "gauge", "Requests waiting to be processed.", std::to_string(stats.waiting));
  single("vllm:kv_cache_usage_perc", "gauge", "Share of the KV cache in use, 1 is all.", number(stats.kv_cache_usage));
  single("vllm:prefix_cache_queries_total", "counter", "Prompt tokens looked for in the prefix cache.",
         std::to_string(stats.prefix_queries));
  single("vllm:prefix_cache_hits_total", "counter", "Prompt tokens found in the prefix cache.",
         std::to_string(stats.prefix_hits));
  single("vllm:num_preemptions_total", "counter", "Requests that had to start again to make room.",
         std::to_string(stats.preemptions));
  single("vllm:spec_decode_num_draft_tokens_total", "counter", "Tokens guessed by speculative decoding.",
         std::to_string(stats.draft_tokens));
  single("vllm:spec_decode_num_accepted_tokens_total", "counter", "Guessed tokens that were right.",
         std::to_string(stats.accepted_draft_tokens));
  single("slipway:kv_cache_tokens", "gauge", "Tokens that the KV cache holds.", std::to_string(stats.kv_cache_tokens));
  single("slipway:max_model_len", "gauge", "Tokens of a prompt and its answer at most.",
         std::to_string(stats.max_model_len));
  single("slipway:max_num_seqs", "gauge", "Requests in one batch at most.", std::to_string(stats.max_num_seqs));
  single("slipway:weight_bits", "gauge", "Bits of a weight: 32 f32, 16 bf16, 8 int8, 4 int4.",
         std::to_string(stats.weight_bits));
  single("slipway:adapters", "gauge", "Adapters that are loaded.", std::to_string(stats.adapters));
  single("slipway:adapters_in_memory", "gauge", "Adapters whose weights are in memory.",
         std::to_string(stats.adapters_in_memory));
  single("vllm:prompt_tokens_total", "counter", "Prompt tokens processed.", std::to_string(stats.prompt_tokens));
  single("vllm:generation_tokens_total", "counter", "Tokens generated.", std::to_string(stats.generated_tokens));
  head(out, "vllm:request_success_total", "counter", "Finished requests by reason.");
  for (const auto& [reason, count] : finished_) {
    out += "vllm:request_success_total{" + labels_ + ",finished_reason=\"" + reason + "\"} " + std::to_string(count) +
           "\n";
  }
  const auto histogram = [&](const std::string& name, const char* help, const Histogram& values) {
    head(out, name, "histogram", help);
    values.write(name, labels_, out);
  };
  histogram("vllm:time_to_first_token_seconds", "Time from the request to its first token.", first_token_);
  histogram("vllm:inter_token_latency_seconds", "Time between two tokens of one answer.", next_token_);
  histogram("vllm:request_time_per_output_token_seconds", "Mean time per token of an answer after its first.",
            per_token_);
  histogram("vllm:e2e_request_latency_seconds", "Time from the request to the end of its answer.", latency_);
  histogram("vllm:request_prompt_tokens", "Prompt tokens of a request.", prompt_tokens_);
  histogram("vllm:request_generation_tokens", "Generated tokens of a request.", generated_tokens_);
  head(out, "http_requests_total", "counter", "HTTP requests by path, method and status.");
  for (const auto& [key, count] : http_) {
    out += "http_requests_total{handler=\"" + escaped(key[0]) + "\",method=\"" + escaped(key[1]) + "\",status=\"" +
           key[2] + "\"} " + std::to_string(count) + "\n";
  }
  return out;
}

}  // namespace slipway::serve
