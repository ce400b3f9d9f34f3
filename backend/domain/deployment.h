// What happens next with a deployment, given its latest replica's attempt and the one before it: a pure function.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "backend/domain/states.h"

namespace slipway::domain {

// What its owner asked for last.
enum class Wanted { kRunning, kStopped };

struct ReplicaFacts {
  AttemptState state = AttemptState::kPending;
  bool stop_asked = false;
  bool ready = false;     // the engine said `ready`, and has not been started again since
  bool reachable = true;  // its node is online
};

struct DeploymentFacts {
  Wanted wanted = Wanted::kRunning;
  std::optional<ReplicaFacts> replica;  // none: there has been none since the last start
  int losses = 0;                       // replicas lost since the last start
  std::optional<ReplicaFacts> former;   // of the version before, not ended: it serves until the new one is ready
};

struct DeploymentDecision {
  DeploymentState state;
  bool new_replica = false;   // queue another attempt
  bool stop_replica = false;  // ask the running one to drain and leave
  bool drop_replica = false;  // it has not begun: it is stopped at once
  bool serve_former = false;  // calls go to the former replica
  bool stop_former = false;   // ask the former to drain and leave
  bool withdraw = false;      // the new version does not come up: the former stays what is deployed

  bool operator==(const DeploymentDecision&) const = default;
};

inline constexpr int kReplicasAfterLoss = 5;

// What calls give as `model` for each task of an adapter (0 and 1: it has one): `name`, NAME-task-1, …, at most 64.
std::vector<std::string> names_of_tasks(const std::string& name, int64_t tasks);

DeploymentDecision advance_deployment(const DeploymentFacts& deployment);

}  // namespace slipway::domain
