// Prometheus metrics under vLLM's names, in the text exposition format. Any thread.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "agents/engine/serve/model_pool.h"

namespace slipway::serve {

class Histogram {
 public:
  explicit Histogram(std::vector<double> bounds) : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}
  void observe(double value);
  // Appends the series; `labels` without braces.
  void write(const std::string& name, const std::string& labels, std::string& out) const;

 private:
  std::vector<double> bounds_;
  std::vector<int64_t> counts_;  // per bucket, not cumulative; the last is +Inf
  int64_t count_ = 0;
  double sum_ = 0;
};

// What one base model's requests did.
class ModelMetrics {
 public:
  void first_token(double seconds);
  void next_token(double seconds);
  struct Finished {
    std::string reason;  // stop, length, abort, error
    int64_t prompt_tokens = 0, generated_tokens = 0;
    // Since the request came; -1: did not happen.
    double seconds = 0;
    double scheduled_seconds = -1, first_token_seconds = -1;
  };
  // One answer of a request has ended.
  void finished(const Finished& answer);
  // All answers have. `max_tokens` 0: the request set no limit.
  void request_finished(int64_t n, int64_t max_tokens, int64_t longest_answer);

  struct Values {
    Values();
    Histogram first_token, next_token, per_token, latency, queue, inference, prefill, decode;
    Histogram prompt_tokens, generated_tokens, longest_answer, n, max_tokens;
    std::map<std::string, int64_t> finished;  // by reason
  };
  Values values() const;

 private:
  mutable std::mutex mutex_;
  Values values_;
};

class Metrics {
 public:
  explicit Metrics(const std::vector<std::string>& model_names);

  ModelMetrics& of(size_t model) { return models_[model]; }
  void http(const std::string& path, const std::string& method, int status);

  // `stats`: of each model.
  std::string text(const std::vector<PoolStats>& stats) const;

 private:
  void write_requests(std::string& out) const;

  std::vector<std::string> labels_;  // of each model
  std::vector<ModelMetrics> models_;
  mutable std::mutex mutex_;
  std::map<std::array<std::string, 3>, int64_t> http_;
};

}  // namespace slipway::serve
