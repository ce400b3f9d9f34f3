// The states of runs, tasks, attempts and deployments, and their names in store, API and filters.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace slipway::domain {

enum class RunState { kQueued, kRunning, kSucceeded, kFailed, kCancelling, kCancelled };
enum class TaskState { kPending, kQueued, kRunning, kSucceeded, kFailed, kCancelled, kSkipped };
// kPending: waits for a device. kStarting: given to a node. kLost: the node no longer knows it or is gone for good.
enum class AttemptState { kPending, kStarting, kRunning, kSucceeded, kFailed, kStopped, kLost };
// kUnreachable: it was ready, and its node is offline.
enum class DeploymentState { kQueued, kStarting, kReady, kFailed, kStopping, kStopped, kUnreachable };

// Lower case, one word: queued, running, …
std::string_view name_of(RunState state);
std::string_view name_of(TaskState state);
std::string_view name_of(AttemptState state);
std::string_view name_of(DeploymentState state);

// The reverse; nullopt for a name that is not one.
std::optional<RunState> run_state_of(std::string_view name);
std::optional<TaskState> task_state_of(std::string_view name);
std::optional<AttemptState> attempt_state_of(std::string_view name);
std::optional<DeploymentState> deployment_state_of(std::string_view name);

// No further change without a retry.
bool is_final(RunState state);
bool is_final(TaskState state);
bool is_final(AttemptState state);

// Why something failed: code to search for, what happened to which thing, and what to do.
struct Failure {
  std::string code;
  std::string message;
  std::string advice;

  bool empty() const { return code.empty() && message.empty(); }
};

}  // namespace slipway::domain
