// Which queued attempt goes to which device: first come, first served, one task per device. Pure functions, called by
// the dispatcher.
#pragma once

#include <string>
#include <vector>

namespace slipway::domain {

struct QueuedAttempt {
  std::string id;
  // prep, train, eval, serve. Training takes a GPU wherever there is one, the others the CPU.
  std::string engine;
  // Replicas of deployments share the CPU with tasks and with each other; on a GPU they are alone like a task.
  bool replica = false;
  // Where its work folder is, with a checkpoint to go on from; empty for none.
  std::string preferred_node_id;
  // For the reason in words: "run demo, task train".
  std::string label;
  // Of training: ranks that start together, and over how many nodes, each taking as many. Ranks on GPUs have one each;
  // those of a node without share its CPU. All ranks on one CPU are the engine's own affair, and one placement.
  int ranks = 1;
  int nodes = 1;
};

struct DeviceFacts {
  std::string id;    // cpu, gpu0
  std::string kind;  // cpu, cuda
  // The attempt that has it to itself; empty when free.
  std::string holder;
  std::string holder_label;
};

struct NodeFacts {
  std::string id;
  std::string name;
  bool online = false;
  std::vector<DeviceFacts> devices;
};

struct Placement {
  std::string attempt_id;
  std::string node_id;
  std::string device_id;
  int rank = 0;  // of a gang, which has a placement for each

  bool operator==(const Placement&) const = default;
};

struct Waiting {
  std::string attempt_id;
  std::string reason;  // in words
};

struct PlacementPlan {
  std::vector<Placement> placements;
  std::vector<Waiting> waiting;
};

// queued: in the order in which they came. No attempt overtakes another that could use the same device: what a gang
// could use is kept for it while it waits for the rest. It is placed whole or not at all.
PlacementPlan place(const std::vector<QueuedAttempt>& queued, std::vector<NodeFacts> nodes);

}  // namespace slipway::domain
