#include "backend/domain/place.h"

#include <algorithm>

namespace slipway::domain {
namespace {

bool wants_gpu(const QueuedAttempt& attempt) { return attempt.engine == "train"; }

bool has_gpu(const NodeFacts& node) {
  return std::any_of(node.devices.begin(), node.devices.end(), [](const DeviceFacts& d) { return d.kind == "cuda"; });
}

}  // namespace

PlacementPlan place(const std::vector<QueuedAttempt>& queued, std::vector<NodeFacts> nodes) {
  PlacementPlan plan;
  const bool any_online = std::any_of(nodes.begin(), nodes.end(), [](const NodeFacts& node) { return node.online; });
  for (const QueuedAttempt& attempt : queued) {
    if (!any_online) {
      plan.waiting.push_back({attempt.id, nodes.empty() ? "no node has joined: start slipway-agent on a machine"
                                                        : "no node is online: start its slipway-agent"});
      continue;
    }
    const auto may_use = [&](const NodeFacts& node) { return node.online && !node.devices.empty(); };
    // The node with the checkpoint, while it is there; else the whole cluster.
    const bool tied = std::any_of(nodes.begin(), nodes.end(), [&](const NodeFacts& node) {
      return may_use(node) && node.id == attempt.preferred_node_id;
    });
    const bool gpu = wants_gpu(attempt) && std::any_of(nodes.begin(), nodes.end(), [&](const NodeFacts& node) {
                       return may_use(node) && has_gpu(node) && (!tied || node.id == attempt.preferred_node_id);
                     });
    const std::string kind = gpu ? "cuda" : "cpu";
    bool placed = false;
    std::string busy;
    for (NodeFacts& node : nodes) {
      if (placed || !may_use(node) || (tied && node.id != attempt.preferred_node_id)) continue;
      for (DeviceFacts& device : node.devices) {
        if (device.kind != kind) continue;
        const bool shared = attempt.replica && device.kind == "cpu";
        if (!shared && !device.holder.empty()) {
          if (busy.empty()) busy = device.id + " of node " + node.name + " is busy with " + device.holder_label;
          continue;
        }
        plan.placements.push_back({attempt.id, node.id, device.id});
        if (!shared) {
          device.holder = attempt.id;
          device.holder_label = attempt.label;
        }
        placed = true;
        break;
      }
    }
    if (!placed) plan.waiting.push_back({attempt.id, busy.empty() ? "no online node has a " + kind + " device" : busy});
  }
  return plan;
}

}  // namespace slipway::domain
