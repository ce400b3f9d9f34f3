// What a run says: events, each once, also when a resumed run computes steps again. Used by trainer.cpp and
// prepare.cpp.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "agents/engine/spec/engine_main.h"
#include "agents/engine/train/checkpoints/history.h"

namespace slipway::train {

// One thread.
class Reporter {
 public:
  explicit Reporter(spec::EngineContext& context)
      : events_(context.events), history_(RunHistory::read(context.workdir)) {}

  void warn(const std::string& code, const std::string& message, const std::string& advice);
  void phase(const std::string& name, const std::string& state) { events_.phase(name, state); }
  // A sign of life, at most every few seconds.
  void heartbeat(int64_t step);
  void data(const nlohmann::ordered_json& values);  // once per workdir
  void progress(int64_t step, int64_t total_steps, double eta_s);
  bool progress_is_due() const;  // when nothing was said for a while
  void step(int64_t step, const nlohmann::ordered_json& values);
  bool evaluation_is_said(int64_t step) const { return step <= history_.last_eval_step; }
  void evaluation(int64_t step, const nlohmann::ordered_json& values);
  void checkpoint(int64_t step, const std::string& sha256);
  void artifact(const std::string& name, const std::string& path);

 private:
  spec::EventWriter& events_;
  RunHistory history_;
  std::chrono::steady_clock::time_point last_sign_ = std::chrono::steady_clock::now();
};

}  // namespace slipway::train
