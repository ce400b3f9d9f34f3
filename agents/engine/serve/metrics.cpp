#include "agents/engine/serve/metrics.h"

#include <algorithm>
#include <cstdio>
#include <utility>

namespace slipway::serve {
namespace {

std::string number(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.15g", value);
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

std::vector<double> between_tokens() {  // seconds
  return {0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01, 0.015, 0.02, 0.025, 0.05, 0.075, 0.1,
          0.15,  0.2,   0.3,   0.4,   0.5,   0.75,  1,     2.5,  5,     7.5,  10,    20,   40,    80};
}

std::vector<double> whole_request() {  // seconds
  return {0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
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

ModelMetrics::Values::Values()
    : first_token({0.001, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.25,
                   0.5,   0.75,  1,    2.5,   5,    7.5,  10,   20,   40,   80,  160}),
      next_token(between_tokens()),
      per_token(between_tokens()),
      latency(whole_request()),
      queue(whole_request()),
      inference(whole_request()),
      prefill(whole_request()),
      decode(whole_request()),
      prompt_tokens(token_bounds()),
      generated_tokens(token_bounds()),
      longest_answer(token_bounds()),
      n({1, 2, 5, 10, 20}),
      max_tokens(token_bounds()) {
  for (const char* reason : {"stop", "length", "abort", "error"}) finished[reason] = 0;
}

void ModelMetrics::first_token(double seconds) {
  const std::lock_guard lock(mutex_);
  values_.first_token.observe(seconds);
}

void ModelMetrics::next_token(double seconds) {
  const std::lock_guard lock(mutex_);
  values_.next_token.observe(seconds);
}

void ModelMetrics::finished(const Finished& answer) {
  const std::lock_guard lock(mutex_);
  ++values_.finished[answer.reason];
  values_.latency.observe(answer.seconds);
  if (answer.scheduled_seconds >= 0) {
    values_.queue.observe(answer.scheduled_seconds);
    values_.inference.observe(answer.seconds - answer.scheduled_seconds);
  }
  if (answer.first_token_seconds >= 0) {
    const double decode = answer.seconds - answer.first_token_seconds;
    values_.prefill.observe(answer.first_token_seconds - std::max(0.0, answer.scheduled_seconds));
    values_.decode.observe(decode);
    if (answer.generated_tokens > 1)
      values_.per_token.observe(decode / static_cast<double>(answer.generated_tokens - 1));
  }
  values_.prompt_tokens.observe(static_cast<double>(answer.prompt_tokens));
  values_.generated_tokens.observe(static_cast<double>(answer.generated_tokens));
}

void ModelMetrics::request_finished(int64_t n, int64_t max_tokens, int64_t longest_answer) {
  const std::lock_guard lock(mutex_);
  values_.n.observe(static_cast<double>(n));
  if (max_tokens > 0) values_.max_tokens.observe(static_cast<double>(max_tokens));
  values_.longest_answer.observe(static_cast<double>(longest_answer));
}

ModelMetrics::Values ModelMetrics::values() const {
  const std::lock_guard lock(mutex_);
  return values_;
}

Metrics::Metrics(const std::vector<std::string>& model_names) : models_(model_names.size()) {
  for (const std::string& name : model_names) labels_.push_back("model_name=\"" + escaped(name) + "\"");
}

void Metrics::http(const std::string& path, const std::string& method, int status) {
  const std::lock_guard lock(mutex_);
  ++http_[{path, method, std::to_string(status)}];
}

std::string Metrics::text(const std::vector<PoolStats>& stats) const {
  std::string out;
  const auto each = [&](const std::string& name, const char* type, const char* help, const auto& value_of) {
    head(out, name, type, help);
    for (size_t i = 0; i < stats.size(); ++i) out += name + "{" + labels_[i] + "} " + number(value_of(stats[i])) + "\n";
  };
  const auto count = [&](const std::string& name, const char* type, const char* help,
                         int64_t runtime::EngineStats::*member) {
    each(name, type, help, [member](const PoolStats& one) { return static_cast<double>(one.engine.*member); });
  };
  using Stats = runtime::EngineStats;
  count("vllm:num_requests_running", "gauge", "Requests in the running batch.", &Stats::running);
  count("vllm:num_requests_waiting", "gauge", "Requests waiting to be processed.", &Stats::waiting);
  each("vllm:kv_cache_usage_perc", "gauge", "Share of the KV cache in use, 1 is all.",
       [](const PoolStats& one) { return one.engine.kv_cache_usage; });
  count("vllm:prefix_cache_queries_total", "counter", "Prompt tokens looked for in the prefix cache.",
        &Stats::prefix_queries);
  count("vllm:prefix_cache_hits_total", "counter", "Prompt tokens found in the prefix cache.", &Stats::prefix_hits);
  count("vllm:num_preemptions_total", "counter", "Requests that had to start again to make room.", &Stats::preemptions);
  count("vllm:spec_decode_num_draft_tokens_total", "counter", "Tokens guessed by speculative decoding.",
        &Stats::draft_tokens);
  count("vllm:spec_decode_num_accepted_tokens_total", "counter", "Guessed tokens that were right.",
        &Stats::accepted_draft_tokens);
  count("slipway:kv_cache_tokens", "gauge", "Tokens that the KV cache holds.", &Stats::kv_cache_tokens);
  count("slipway:max_model_len", "gauge", "Tokens of a prompt and its answer at most.", &Stats::max_model_len);
  count("slipway:max_num_seqs", "gauge", "Requests in one batch at most.", &Stats::max_num_seqs);
  count("slipway:weight_bits", "gauge", "Bits of a weight: 32 f32, 16 bf16, 8 int8, 4 int4.", &Stats::weight_bits);
  count("slipway:adapters", "gauge", "Adapters that are loaded.", &Stats::adapters);
  count("slipway:adapters_in_memory", "gauge", "Adapters whose weights are in memory.", &Stats::adapters_in_memory);
  count("vllm:prompt_tokens_total", "counter", "Prompt tokens processed.", &Stats::prompt_tokens);
  count("vllm:generation_tokens_total", "counter", "Tokens generated.", &Stats::generated_tokens);
  each("slipway:model_loaded", "gauge", "Whether the model is in memory.",
       [](const PoolStats& one) { return one.loaded ? 1.0 : 0.0; });
  each("slipway:model_loads_total", "counter", "How often the model was loaded.",
       [](const PoolStats& one) { return static_cast<double>(one.loads); });
  each("slipway:model_drops_total", "counter", "How often the model was dropped.",
       [](const PoolStats& one) { return static_cast<double>(one.drops); });
  write_requests(out);
  return out;
}

// What requests did, then what HTTP did.
void Metrics::write_requests(std::string& out) const {
  std::vector<ModelMetrics::Values> values;
  for (const ModelMetrics& model : models_) values.push_back(model.values());
  head(out, "vllm:request_success_total", "counter", "Finished requests by reason.");
  for (size_t i = 0; i < values.size(); ++i) {
    for (const auto& [reason, count] : values[i].finished) {
      out += "vllm:request_success_total{" + labels_[i] + ",finished_reason=\"" + reason + "\"} " +
             std::to_string(count) + "\n";
    }
  }
  const auto histogram = [&](const std::string& name, const char* help, Histogram ModelMetrics::Values::*member) {
    head(out, name, "histogram", help);
    for (size_t i = 0; i < values.size(); ++i) (values[i].*member).write(name, labels_[i], out);
  };
  using Values = ModelMetrics::Values;
  histogram("vllm:time_to_first_token_seconds", "Time from the request to its first token.", &Values::first_token);
  histogram("vllm:inter_token_latency_seconds", "Time between two tokens of one answer.", &Values::next_token);
  histogram("vllm:request_time_per_output_token_seconds", "Mean time per token of an answer after its first.",
            &Values::per_token);
  histogram("vllm:e2e_request_latency_seconds", "Time from the request to the end of its answer.", &Values::latency);
  histogram("vllm:request_queue_time_seconds", "Time that a request waited to be scheduled.", &Values::queue);
  histogram("vllm:request_inference_time_seconds", "Time from a request's scheduling to its end.", &Values::inference);
  histogram("vllm:request_prefill_time_seconds", "Time from a request's scheduling to its first token.",
            &Values::prefill);
  histogram("vllm:request_decode_time_seconds", "Time from a request's first token to its end.", &Values::decode);
  histogram("vllm:request_prompt_tokens", "Prompt tokens of a request.", &Values::prompt_tokens);
  histogram("vllm:request_generation_tokens", "Generated tokens of a request.", &Values::generated_tokens);
  histogram("vllm:request_max_num_generation_tokens", "Generated tokens of a request's longest answer.",
            &Values::longest_answer);
  histogram("vllm:request_params_n", "Answers that requests asked for.", &Values::n);
  histogram("vllm:request_params_max_tokens", "Most tokens of an answer, where requests said so.", &Values::max_tokens);
  head(out, "http_requests_total", "counter", "HTTP requests by path, method and status.");
  const std::lock_guard lock(mutex_);
  for (const auto& [key, count] : http_) {
    out += "http_requests_total{handler=\"" + escaped(key[0]) + "\",method=\"" + escaped(key[1]) + "\",status=\"" +
           key[2] + "\"} " + std::to_string(count) + "\n";
  }
}

}  // namespace slipway::serve
