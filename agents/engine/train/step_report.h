// What a run says of its data and of a step, as the values of metric events, and how fast it is. Used by trainer.cpp.
#pragma once

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>

#include "agents/engine/train/checkpoints/run_state.h"
#include "agents/engine/train/prepare.h"
#include "agents/engine/train/step.h"

namespace slipway::train {

// Steps of this process, all of them and those since the last metric.
class Pace {
 public:
  // work: operations, as WorkCount counts them.
  void add(int64_t tokens, double work, double seconds);
  void begin_interval() {
    interval_tokens_ = 0;
    interval_work_ = interval_seconds_ = 0;
  }
  double tokens_per_second() const {
    return interval_seconds_ > 0 ? static_cast<double>(interval_tokens_) / interval_seconds_ : 0;
  }
  double work_per_second() const { return interval_seconds_ > 0 ? interval_work_ / interval_seconds_ : 0; }
  double seconds_for(int64_t steps) const {
    return seconds_ / static_cast<double>(std::max<int64_t>(1, steps_)) * static_cast<double>(steps);
  }

 private:
  int64_t steps_ = 0, interval_tokens_ = 0;
  double seconds_ = 0, interval_work_ = 0, interval_seconds_ = 0;
};

nlohmann::ordered_json data_values(const Job& job);

// peak_memory: bytes, of the rank that has most. The epoch is left out until all of its steps are known.
nlohmann::ordered_json step_values(const Job& job, const RunState& state, const StepResult& result, const Pace& pace,
                                   double learning_rate, double gradient_norm, int64_t peak_memory);

}  // namespace slipway::train
