#include "agents/engine/train/reporter.h"

namespace slipway::train {

namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr double kHeartbeatSeconds = 5, kProgressSeconds = 2;

double seconds_since(SteadyClock::time_point begin) {
  return std::chrono::duration<double>(SteadyClock::now() - begin).count();
}

}  // namespace

void Reporter::warn(const std::string& code, const std::string& message, const std::string& advice) {
  if (history_.warnings.insert(code + " " + message).second) events_.warning(code, message, advice);
}

void Reporter::heartbeat(int64_t step) {
  if (seconds_since(last_sign_) < kHeartbeatSeconds) return;
  events_.heartbeat(step);
  last_sign_ = SteadyClock::now();
}

void Reporter::data(const nlohmann::ordered_json& values) {
  if (history_.last_data_step < 0) events_.metric(0, values);
}

bool Reporter::progress_is_due() const { return seconds_since(last_sign_) > kProgressSeconds; }

void Reporter::progress(int64_t step, int64_t total_steps, double eta_s) {
  if (step <= history_.last_progress) return;
  events_.progress("train", step, total_steps, "step", eta_s);
  last_sign_ = SteadyClock::now();
}

void Reporter::step(int64_t step, const nlohmann::ordered_json& values) {
  if (step > history_.last_train_step) events_.metric(step, values);
}

void Reporter::evaluation(int64_t step, const nlohmann::ordered_json& values) {
  if (evaluation_is_said(step)) return;
  events_.metric(step, values);
  history_.last_eval_step = step;
}

void Reporter::checkpoint(int64_t step, const std::string& sha256) {
  const auto said = history_.checkpoints.find(step);
  if (said != history_.checkpoints.end() && said->second == sha256) return;
  events_.checkpoint(step, "checkpoints/step-" + std::to_string(step), sha256);
  history_.checkpoints[step] = sha256;
}

void Reporter::artifact(const std::string& name, const std::string& path) {
  if (history_.artifacts.insert(name).second) events_.artifact(name, path);
}

}  // namespace slipway::train
