#include "backend/domain/place.h"

#include <algorithm>

namespace slipway::domain {
namespace {

bool wants_gpu(const QueuedAttempt& attempt) { return attempt.engine == "train"; }

bool has_gpu(const NodeFacts& node) {
  return std::any_of(node.devices.begin(), node.devices.end(), [](const DeviceFacts& d) { return d.kind == "cuda"; });
}

bool may_use(const NodeFacts& node) { return node.online && !node.devices.empty(); }

std::string busy_with(const NodeFacts& node, const DeviceFacts& device) {
  return device.id + " of node " + node.name + " is busy with " + device.holder_label;
}

std::string counted(size_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

class Placer {
 public:
  explicit Placer(std::vector<NodeFacts> nodes) : nodes_(std::move(nodes)) {
    any_online_ = std::any_of(nodes_.begin(), nodes_.end(), [](const NodeFacts& node) { return node.online; });
  }

  void place(const QueuedAttempt& attempt) {
    if (!any_online_) {
      return wait(attempt, nodes_.empty() ? "no node has joined: start slipway-agent on a machine"
                                          : "no node is online: start its slipway-agent");
    }
    // The node with the checkpoint, while it is there; else the whole cluster.
    const bool tied = std::any_of(nodes_.begin(), nodes_.end(), [&](const NodeFacts& node) {
      return may_use(node) && node.id == attempt.preferred_node_id;
    });
    const bool gpu = wants_gpu(attempt) && std::any_of(nodes_.begin(), nodes_.end(), [&](const NodeFacts& node) {
                       return may_use(node) && has_gpu(node) && (!tied || node.id == attempt.preferred_node_id);
                     });
    const std::string kind = gpu ? "cuda" : "cpu";
    if (attempt.ranks > 1 && (attempt.nodes > 1 || gpu)) return place_gang(attempt, kind, tied);
    place_one(attempt, kind, tied);
  }

  PlacementPlan take() { return std::move(plan_); }

 private:
  // What a gang finds on one node.
  struct Room {
    NodeFacts* node;
    std::vector<DeviceFacts*> free;
    bool enough = false;
  };

  void wait(const QueuedAttempt& attempt, const std::string& reason) { plan_.waiting.push_back({attempt.id, reason}); }

  void place_one(const QueuedAttempt& attempt, const std::string& kind, bool tied) {
    std::string busy;
    for (NodeFacts& node : nodes_) {
      if (!may_use(node) || (tied && node.id != attempt.preferred_node_id)) continue;
      for (DeviceFacts& device : node.devices) {
        if (device.kind != kind) continue;
        const bool shared = attempt.replica && device.kind == "cpu";
        if (!shared && !device.holder.empty()) {
          if (busy.empty()) busy = busy_with(node, device);
          continue;
        }
        plan_.placements.push_back({attempt.id, node.id, device.id});
        if (!shared) {
          device.holder = attempt.id;
          device.holder_label = attempt.label;
        }
        return;
      }
    }
    wait(attempt, busy.empty() ? "no online node has a " + kind + " device" : busy);
  }

  // The nodes that have as many devices as a node of the gang needs, the preferred one first. busy: why one is not
  // free.
  std::vector<Room> rooms_for(const QueuedAttempt& attempt, const std::string& kind, size_t devices,
                              std::string& busy) {
    std::vector<Room> rooms;
    for (NodeFacts& node : nodes_) {
      if (!may_use(node)) continue;
      Room room{&node, {}};
      size_t of_kind = 0;
      for (DeviceFacts& device : node.devices) {
        if (device.kind != kind) continue;
        ++of_kind;
        if (device.holder.empty()) {
          room.free.push_back(&device);
        } else if (busy.empty()) {
          busy = busy_with(node, device);
        }
      }
      if (of_kind < devices) continue;
      room.enough = room.free.size() >= devices;
      rooms.push_back(std::move(room));
    }
    std::stable_partition(rooms.begin(), rooms.end(),
                          [&](const Room& room) { return room.node->id == attempt.preferred_node_id; });
    return rooms;
  }

  void place_gang(const QueuedAttempt& attempt, const std::string& kind, bool tied) {
    const auto nodes = static_cast<size_t>(attempt.nodes);
    const size_t per_node = static_cast<size_t>(attempt.ranks) / nodes;
    const size_t devices = kind == "cuda" ? per_node : 1;
    std::string busy;
    std::vector<Room> rooms = rooms_for(attempt, kind, devices, busy);
    if (rooms.size() < nodes) {
      return wait(attempt, "it asks for " + counted(nodes, "node") + " with " + counted(devices, kind + " device") +
                               ", and " + std::to_string(rooms.size()) + (rooms.size() == 1 ? " is" : " are") +
                               " online");
    }
    // Rank 0 has to go where the checkpoints are.
    const bool first_is_free = rooms.front().enough || !tied;
    std::erase_if(rooms, [](const Room& room) { return !room.enough; });
    const bool placed = first_is_free && rooms.size() >= nodes;
    if (!placed) {
      wait(attempt, std::to_string(std::min(rooms.size(), nodes)) + " of " + counted(nodes, "node") +
                        " it asks for are free: " + busy);
    }
    int rank = 0;
    for (size_t i = 0; i < std::min(rooms.size(), nodes); ++i) {
      for (size_t j = 0; j < per_node; ++j) {
        DeviceFacts& device = *rooms[i].free[devices == 1 ? 0 : j];
        device.holder = attempt.id;
        device.holder_label = attempt.label + (placed ? "" : ", which waits for further nodes");
        if (placed) plan_.placements.push_back({attempt.id, rooms[i].node->id, device.id, rank++});
      }
    }
  }

  std::vector<NodeFacts> nodes_;
  bool any_online_ = false;
  PlacementPlan plan_;
};

}  // namespace

PlacementPlan place(const std::vector<QueuedAttempt>& queued, std::vector<NodeFacts> nodes) {
  Placer placer(std::move(nodes));
  for (const QueuedAttempt& attempt : queued) placer.place(attempt);
  return placer.take();
}

}  // namespace slipway::domain
