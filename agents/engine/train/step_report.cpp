#include "agents/engine/train/step_report.h"

namespace slipway::train {

void Pace::add(int64_t tokens, double work, double seconds) {
  ++steps_;
  seconds_ += seconds;
  interval_tokens_ += tokens;
  interval_work_ += work;
  interval_seconds_ += seconds;
}

nlohmann::ordered_json data_values(const Job& job) {
  const DatasetStatistics& s = job.train.statistics;
  return {{"train_rows", s.rows},
          {"dropped_rows", s.dropped_rows},
          {"truncated_rows", s.truncated_rows},
          {"train_tokens", s.tokens},
          {"train_trained_tokens", s.trained_tokens},
          {"steps_per_epoch", job.plan->steps_per_epoch()},
          {"total_steps", job.total_steps}};
}

nlohmann::ordered_json step_values(const Job& job, const RunState& state, const StepResult& result, const Pace& pace,
                                   double learning_rate, double gradient_norm, int64_t peak_memory) {
  nlohmann::ordered_json values = {{"loss", state.interval_loss / static_cast<double>(state.interval_steps)},
                                   {"learning_rate", learning_rate},
                                   {"grad_norm", gradient_norm}};
  if (job.plan->is_complete()) {
    values["epoch"] = static_cast<double>(state.step) / static_cast<double>(job.plan->steps_per_epoch());
  }
  values["tokens_per_second"] = pace.tokens_per_second();
  values["tokens"] = state.tokens;
  values["trained_tokens"] = state.trained_tokens;
  values["peak_memory_bytes"] = peak_memory;
  for (const auto& [name, value] : result.further) values[name] = value;
  return values;
}

}  // namespace slipway::train
