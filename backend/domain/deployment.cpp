#include "backend/domain/deployment.h"

namespace slipway::domain {
namespace {

DeploymentDecision towards_stop(const std::optional<ReplicaFacts>& replica) {
  if (!replica || is_final(replica->state)) return {DeploymentState::kStopped};
  if (replica->state == AttemptState::kPending) {
    return {.state = DeploymentState::kStopped, .drop_replica = true};
  }
  return {.state = DeploymentState::kStopping, .stop_replica = !replica->stop_asked};
}

}  // namespace

DeploymentDecision advance_deployment(const DeploymentFacts& deployment) {
  const auto& replica = deployment.replica;
  if (deployment.wanted == Wanted::kStopped) return towards_stop(replica);
  if (!replica) return {.state = DeploymentState::kQueued, .new_replica = true};
  switch (replica->state) {
    case AttemptState::kPending:
      return {DeploymentState::kQueued};
    case AttemptState::kStarting:
    case AttemptState::kRunning:
      // Asked to stop, then wanted again: it leaves first, and a new one follows.
      if (replica->stop_asked) return {DeploymentState::kStarting};
      return {replica->ready ? DeploymentState::kReady : DeploymentState::kStarting};
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

}  // namespace slipway::domain
