#include "backend/domain/states.h"

#include <array>

namespace slipway::domain {
namespace {

constexpr std::array<std::string_view, 6> kRunNames = {"queued", "running",    "succeeded",
                                                       "failed", "cancelling", "cancelled"};
constexpr std::array<std::string_view, 7> kTaskNames = {"pending", "queued",    "running", "succeeded",
                                                        "failed",  "cancelled", "skipped"};
constexpr std::array<std::string_view, 7> kAttemptNames = {"pending", "starting", "running", "succeeded",
                                                           "failed",  "stopped",  "lost"};
constexpr std::array<std::string_view, 7> kDeploymentNames = {"queued",   "starting", "ready",      "failed",
                                                              "stopping", "stopped",  "unreachable"};

template <typename State, typename Names>
std::optional<State> find(const Names& names, std::string_view name) {
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] == name) return static_cast<State>(i);
  }
  return std::nullopt;
}

}  // namespace

std::string_view name_of(RunState state) { return kRunNames[static_cast<size_t>(state)]; }
std::string_view name_of(TaskState state) { return kTaskNames[static_cast<size_t>(state)]; }
std::string_view name_of(AttemptState state) { return kAttemptNames[static_cast<size_t>(state)]; }
std::string_view name_of(DeploymentState state) { return kDeploymentNames[static_cast<size_t>(state)]; }

std::optional<RunState> run_state_of(std::string_view name) { return find<RunState>(kRunNames, name); }
std::optional<TaskState> task_state_of(std::string_view name) { return find<TaskState>(kTaskNames, name); }
std::optional<AttemptState> attempt_state_of(std::string_view name) { return find<AttemptState>(kAttemptNames, name); }
std::optional<DeploymentState> deployment_state_of(std::string_view name) {
  return find<DeploymentState>(kDeploymentNames, name);
}

bool is_final(RunState state) {
  return state == RunState::kSucceeded || state == RunState::kFailed || state == RunState::kCancelled;
}
bool is_final(TaskState state) {
  return state == TaskState::kSucceeded || state == TaskState::kFailed || state == TaskState::kCancelled ||
         state == TaskState::kSkipped;
}
bool is_final(AttemptState state) {
  return state == AttemptState::kSucceeded || state == AttemptState::kFailed || state == AttemptState::kStopped ||
         state == AttemptState::kLost;
}

}  // namespace slipway::domain
