#include "backend/domain/deployment.h"

#include <algorithm>

namespace slipway::domain {
namespace {

DeploymentDecision towards_stop(const std::optional<ReplicaFacts>& replica) {
  if (!replica || is_final(replica->state)) return {DeploymentState::kStopped};
  if (replica->state == AttemptState::kPending) {
    return {.state = DeploymentState::kStopped, .drop_replica = true};
  }
  return {.state = DeploymentState::kStopping, .stop_replica = !replica->stop_asked};
}

DeploymentDecision follow(const DeploymentFacts& deployment) {
  const auto& replica = deployment.replica;
  if (!replica) return {.state = DeploymentState::kQueued, .new_replica = true};
  switch (replica->state) {
    case AttemptState::kPending:
      return {DeploymentState::kQueued};
    case AttemptState::kStarting:
    case AttemptState::kRunning:
      // Asked to stop, then wanted again: it leaves first, and a new one follows.
      if (replica->stop_asked || !replica->ready) return {DeploymentState::kStarting};
      return {replica->reachable ? DeploymentState::kReady : DeploymentState::kUnreachable};
    case AttemptState::kFailed:
      if (!replica->stop_asked) return {DeploymentState::kFailed};
      return {.state = DeploymentState::kQueued, .new_replica = true};
    case AttemptState::kSucceeded:
    case AttemptState::kStopped:
    case AttemptState::kLost:
      if (!replica->stop_asked && deployment.losses > kReplicasAfterLoss) return {DeploymentState::kFailed};
      return {.state = DeploymentState::kQueued, .new_replica = true};
  }
  return {DeploymentState::kFailed};
}

}  // namespace

DeploymentDecision advance_deployment(const DeploymentFacts& deployment) {
  const auto& former = deployment.former;
  if (deployment.wanted == Wanted::kStopped) {
    DeploymentDecision decision = towards_stop(deployment.replica);
    if (former) {
      decision.state = DeploymentState::kStopping;
      decision.stop_former = !former->stop_asked;
    }
    return decision;
  }
  DeploymentDecision decision = follow(deployment);
  if (!former) return decision;
  if (decision.state == DeploymentState::kReady || decision.state == DeploymentState::kUnreachable) {
    decision.stop_former = !former->stop_asked;
    return decision;
  }
  if (!former->ready || former->stop_asked) return decision;
  if (decision.state == DeploymentState::kFailed) {
    return {.state = former->reachable ? DeploymentState::kReady : DeploymentState::kUnreachable,
            .serve_former = true,
            .withdraw = true};
  }
  decision.serve_former = true;
  return decision;
}

std::vector<std::string> names_of_tasks(const std::string& name, int64_t tasks) {
  constexpr int64_t kMostServedTasks = 64;
  std::vector<std::string> names = {name};
  for (int64_t task = 1; task < std::min(tasks, kMostServedTasks); ++task) {
    names.push_back(name + "-task-" + std::to_string(task));
  }
  return names;
}

}  // namespace slipway::domain
