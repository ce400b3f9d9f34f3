// Prometheus metrics under vLLM's names, in the text exposition format. Any thread.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "agents/engine/runtime/engine.h"

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

class Metrics {
 public:
  explicit Metrics(std::string model_name);

  void first_token(double seconds);
  void next_token(double seconds);
  struct Finished {
    std::string reason;  // stop, length, abort, error
    int64_t prompt_tokens = 0, generated_tokens = 0;
    double seconds = 0;
    double first_token_seconds = -1;  // -1: there was none
  };
  void finished(const Finished& request);
  void http(const std::string& path, const std::string& method, int status);

  std::string text(const runtime::EngineStats& stats) const;

 private:
  std::string labels_;
  mutable std::mutex mutex_;
  Histogram first_token_, next_token_, per_token_, latency_, prompt_tokens_, generated_tokens_;
  std::map<std::string, int64_t> finished_;
  std::map<std::array<std::string, 3>, int64_t> http_;
};

}  // namespace slipway::serve
