// The dispatcher: the thread of Nodes that watches who is there, gives queued attempts to devices, and tells agents
// what to start, stop and release. It looks at the store each time, so nothing is lost when the backend or an agent
// dies in between.
#include <spdlog/spdlog.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "backend/domain/place.h"
#include "backend/service/nodes.h"
#include "backend/store/replica_readings.h"

namespace slipway::service {
namespace {

using domain::AttemptState;
using nlohmann::json;

constexpr auto kTick = std::chrono::seconds(1);
constexpr int64_t kTidyEveryMs = 10 * 60 * 1000;

// Of one of the ranks of a gang: which it is, and where all of them meet once they are prepared.
struct GangOrder {
  StartOrder::Gang gang;
  std::string meeting;  // empty: not yet
};

std::optional<GangOrder> gang_order(store::Connection& connection, const store::Attempt& attempt) {
  const std::string leader_id = attempt.leader_id.empty() ? attempt.id : attempt.leader_id;
  std::vector<store::Attempt> ranks = store::ranks_of(connection, leader_id);
  const auto leader = store::find_attempt(connection, leader_id);
  if (ranks.empty() || !leader) return std::nullopt;
  GangOrder order{{attempt.rank, static_cast<int>(ranks.size()) + 1, 0}, leader->meeting};
  ranks.push_back(*leader);
  for (const store::Attempt& rank : ranks) {
    if (rank.node_id == attempt.node_id) ++order.gang.local_size;
    if (rank.meeting.empty()) order.meeting.clear();
  }
  return order;
}

StartOrder start_order(const store::Attempt& attempt, const std::optional<GangOrder>& gang) {
  // Keys keep their order: the spec reaches the engine as it was written.
  const auto order = nlohmann::ordered_json::parse(attempt.order_json);
  StartOrder start;
  start.attempt_id = attempt.id;
  start.engine = attempt.engine;
  start.spec_json = order.at("spec").dump(2);
  for (const auto& input : order.at("inputs")) start.inputs.push_back({input.at("artifact_id"), input.at("path")});
  start.work_key = attempt.work_key;
  start.grace_seconds = order.value("grace_seconds", 30);
  start.device = attempt.device;
  start.upload_artifacts = order.at("upload_artifacts").get<std::vector<std::string>>();
  start.return_files = order.at("return_files").get<std::vector<std::string>>();
  start.restarts = order.value("restarts", 0);
  start.plan = order.value("plan", false);
  if (gang) {
    start.gang = gang->gang;
    start.restarts = 0;  // one that falls takes the others along: all are started again
  }
  return start;
}

std::optional<GangOrder> found_gang(const std::map<std::string, GangOrder>& gangs, const std::string& attempt_id) {
  const auto found = gangs.find(attempt_id);
  return found == gangs.end() ? std::nullopt : std::optional(found->second);
}

int32_t grace_of(const store::Attempt& attempt) { return json::parse(attempt.order_json).value("grace_seconds", 30); }

// How many ranks training asks for, and over how many nodes. Measuring in advance takes one.
void read_ranks(const store::Attempt& attempt, domain::QueuedAttempt& queued) {
  const json order = json::parse(attempt.order_json);
  if (order.value("plan", false)) return;
  queued.ranks = order.value(json::json_pointer("/spec/parallel/ranks"), 1);
  queued.nodes = std::max(1, std::min(order.value("nodes", 1), queued.ranks));
}

// "run NAME, task NAME" or "deployment NAME".
std::string label_of(store::Connection& connection, const store::Attempt& attempt) {
  if (attempt.task_id.empty()) {
    const auto deployment = store::find_deployment(connection, attempt.deployment_id);
    return "deployment " + (deployment ? deployment->name : attempt.deployment_id);
  }
  const auto run = store::find_run(connection, attempt.run_id);
  const auto task = store::find_task(connection, attempt.task_id);
  return "run " + (run ? run->name : attempt.run_id) + ", task " + (task ? task->name : attempt.task_id);
}

std::vector<domain::NodeFacts> nodes_for_placement(store::Connection& connection) {
  std::vector<domain::NodeFacts> nodes;
  for (const store::Node& row : store::all_nodes(connection)) {
    domain::NodeFacts node{row.id, row.name, row.online, {}};
    for (const DeviceFacts& device : node_facts_from_json(row.facts).devices) {
      node.devices.push_back({device.id, device.kind, "", ""});
    }
    for (const store::Attempt& attempt : store::active_attempts(connection, row.id)) {
      for (domain::DeviceFacts& device : node.devices) {
        const bool shared = attempt.task_id.empty() && device.kind == "cpu";
        if (device.id != attempt.device || shared) continue;
        device.holder = attempt.id;
        device.holder_label = label_of(connection, attempt);
      }
    }
    nodes.push_back(std::move(node));
  }
  return nodes;
}

void set_waiting(store::Transaction& transaction, const store::Attempt& attempt, const std::string& reason) {
  store::Connection& connection = transaction.connection();
  if (!attempt.task_id.empty()) {
    auto task = store::find_task(connection, attempt.task_id);
    if (!task || task->waiting_reason == reason) return;
    task->waiting_reason = reason;
    store::update_task(connection, *task);
    transaction.changed("run", attempt.run_id, attempt.run_id);
    return;
  }
  auto deployment = store::find_deployment(connection, attempt.deployment_id);
  if (!deployment || deployment->waiting_reason == reason) return;
  deployment->waiting_reason = reason;
  store::update_deployment(connection, *deployment);
  transaction.changed("deployment", deployment->id, deployment->run_id);
}

}  // namespace

void Nodes::run_dispatcher() {
  std::unique_lock lock(mutex_);
  while (!closing_) {
    woken_ = false;
    lock.unlock();
    dispatch();
    lock.lock();
    wake_.wait_for(lock, kTick, [&] { return woken_ || closing_; });
  }
}

void Nodes::dispatch() {
  std::map<std::string, int64_t> last_seen;
  {
    const std::lock_guard lock(mutex_);
    last_seen = last_seen_ms_;
  }
  const auto now_ms = clock_.now_ms();
  const auto work = database_.read([&](store::Connection& connection) -> absl::StatusOr<bool> {
    if (!store::pending_attempts(connection).empty()) return true;
    for (const store::Node& node : store::all_nodes(connection)) {
      const auto seen_at = last_seen.find(node.id);
      const int64_t last = seen_at != last_seen.end() ? seen_at->second : started_at_ms_;
      if (node.online && now_ms - last > options_.offline_after_ms) return true;
      if (!node.online && now_ms - last > options_.lost_after_ms &&
          !store::active_attempts(connection, node.id).empty()) {
        return true;
      }
    }
    return false;
  });
  absl::Status status = work.status();
  if (work.ok() && *work) {
    status = database_.write([&](store::Transaction& transaction) {
      const absl::Status watched = watch_nodes(transaction, last_seen);
      return watched.ok() ? place_pending(transaction) : watched;
    });
  }
  if (status.ok() && now_ms - tidied_at_ms_ > kTidyEveryMs) {
    tidied_at_ms_ = now_ms;
    status = database_.write([&](store::Transaction& transaction) { return tidy(transaction); });
  }
  if (!status.ok()) spdlog::error("dispatch failed error={}", status.ToString());
  send_orders();
}

absl::Status Nodes::watch_nodes(store::Transaction& transaction, const std::map<std::string, int64_t>& last_seen) {
  store::Connection& connection = transaction.connection();
  for (store::Node& node : store::all_nodes(connection)) {
    const auto seen_at = last_seen.find(node.id);
    const int64_t last = seen_at != last_seen.end() ? seen_at->second : started_at_ms_;
    if (node.online && transaction.now_ms() - last > options_.offline_after_ms) {
      node.online = false;
      node.last_seen_at_ms = std::max(node.last_seen_at_ms, seen_at != last_seen.end() ? last : node.last_seen_at_ms);
      store::put_node(connection, node);
      transaction.changed("node", node.id);
      spdlog::warn("node offline node={} name={}", node.id, node.name);
      const absl::Status advanced = conductor_.advance_replicas_of(transaction, node.id);
      if (!advanced.ok()) return advanced;
    }
    if (node.online || transaction.now_ms() - last <= options_.lost_after_ms) continue;
    for (const store::Attempt& attempt : store::active_attempts(connection, node.id)) {
      const absl::Status status =
          conductor_.lose(transaction, attempt, "node " + node.name + " has been offline for too long");
      if (!status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

absl::Status Nodes::place_pending(store::Transaction& transaction) {
  store::Connection& connection = transaction.connection();
  const std::vector<store::Attempt> pending = store::pending_attempts(connection);
  if (pending.empty()) return absl::OkStatus();
  std::vector<domain::QueuedAttempt> queued;
  std::map<std::string, const store::Attempt*> by_id;
  for (const store::Attempt& attempt : pending) {
    by_id[attempt.id] = &attempt;
    domain::QueuedAttempt entry;
    entry.id = attempt.id;
    entry.engine = attempt.engine;
    entry.replica = attempt.task_id.empty();
    entry.label = label_of(connection, attempt);
    if (!entry.replica) {
      read_ranks(attempt, entry);
      for (const store::Attempt& earlier : store::attempts_of_task(connection, attempt.task_id)) {
        if (!earlier.node_id.empty() && !earlier.released) entry.preferred_node_id = earlier.node_id;
      }
    }
    queued.push_back(std::move(entry));
  }
  const domain::PlacementPlan plan = domain::place(queued, nodes_for_placement(connection));
  std::map<std::string, std::vector<domain::Placement>> gangs;
  for (const domain::Placement& placement : plan.placements) gangs[placement.attempt_id].push_back(placement);
  for (const domain::Placement& placement : plan.placements) {
    if (placement.rank > 0) continue;
    store::Attempt attempt = *by_id.at(placement.attempt_id);
    attempt.state = AttemptState::kStarting;
    attempt.node_id = placement.node_id;
    attempt.device = placement.device_id;
    store::update_attempt(connection, attempt);
    conductor_.form_gang(transaction, attempt, gangs[attempt.id]);
    transaction.changed("node", placement.node_id);
    if (attempt.task_id.empty()) {
      const absl::Status status = conductor_.advance_deployment(transaction, attempt.deployment_id);
      if (!status.ok()) return status;
      continue;
    }
    store::Task task = store::find_task(connection, attempt.task_id).value();
    task.state = domain::TaskState::kRunning;
    if (!task.started_at_ms) task.started_at_ms = transaction.now_ms();
    task.waiting_reason.clear();
    store::update_task(connection, task);
    const auto node = store::find_node(connection, placement.node_id);
    Conductor::note(transaction, attempt.run_id, task.id, attempt.id, "attempt",
                    "attempt " + std::to_string(attempt.number) + " of task " + task.name + " given to " +
                        placement.device_id + " of node " + (node ? node->name : placement.node_id) +
                        (gangs[attempt.id].size() > 1
                             ? " and " + std::to_string(gangs[attempt.id].size() - 1) + " more for its other ranks"
                             : ""));
    transaction.changed("run", attempt.run_id, attempt.run_id);
    const absl::Status status = conductor_.advance_run(transaction, attempt.run_id);
    if (!status.ok()) return status;
  }
  for (const domain::Waiting& waiting : plan.waiting) {
    const store::Attempt& attempt = *by_id.at(waiting.attempt_id);
    set_waiting(transaction, attempt, waiting.reason);
    if (!attempt.task_id.empty()) continue;
    const absl::Status status = conductor_.make_room(transaction, attempt.deployment_id);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

void Nodes::send_orders() {
  // What each connected agent has been told so far.
  std::map<std::string, Session> sessions;
  {
    const std::lock_guard lock(mutex_);
    sessions = sessions_;
  }
  if (sessions.empty()) return;
  struct Orders {
    std::vector<store::Attempt> active;
    std::map<std::string, GangOrder> gangs;
    std::vector<std::string> released;
    std::vector<AdapterOrders> adapters;
  };
  std::map<std::string, Orders> orders;
  const absl::Status status = database_.read([&](store::Connection& connection) -> absl::Status {
    for (const auto& [node_id, session] : sessions) {
      Orders& of_node = orders[node_id];
      of_node.active = store::active_attempts(connection, node_id);
      for (const store::Attempt& attempt : of_node.active) {
        if (auto gang = gang_order(connection, attempt)) of_node.gangs[attempt.id] = *std::move(gang);
      }
      auto adapters = adapter_orders(connection, of_node.active);
      if (!adapters.ok()) return adapters.status();
      of_node.adapters = *std::move(adapters);
      for (const std::string& id : session.known) {
        const auto attempt = store::find_attempt(connection, id);
        if (!attempt || attempt->node_id != node_id || attempt->released) of_node.released.push_back(id);
      }
    }
    return absl::OkStatus();
  });
  if (!status.ok()) {
    spdlog::error("orders not read error={}", status.ToString());
    return;
  }
  const std::lock_guard lock(mutex_);
  for (auto& [node_id, of_node] : orders) {
    const auto found = sessions_.find(node_id);
    if (found == sessions_.end() || found->second.link != sessions[node_id].link) continue;
    Session& session = found->second;
    for (const store::Attempt& attempt : of_node.active) {
      if (attempt.state == AttemptState::kStarting && !session.known.contains(attempt.id) &&
          session.started.insert(attempt.id).second) {
        session.link->start(start_order(attempt, found_gang(of_node.gangs, attempt.id)));
      }
      if (const auto gang = found_gang(of_node.gangs, attempt.id);
          gang && !gang->meeting.empty() && session.met.insert(attempt.id).second) {
        session.link->meet(attempt.id, gang->meeting);
      }
      if ((attempt.stop_asked || attempt.broken) && session.stopped.insert(attempt.id).second) {
        session.link->stop(attempt.id, grace_of(attempt), false);
      }
      if (attempt.keep_asked && session.kept.insert(attempt.id).second) {
        session.link->stop(attempt.id, grace_of(attempt), true);
      }
    }
    for (const AdapterOrders& wanted : of_node.adapters) {
      std::string& told = session.adapters[wanted.attempt_id];
      if (told == wanted.key || (told.empty() && !wanted.needed)) continue;
      told = wanted.key;
      session.link->set_adapters(wanted.attempt_id, wanted.adapters);
    }
    for (const std::string& id : of_node.released) {
      session.link->release(id);
      session.known.erase(id);
    }
  }
}

absl::StatusOr<std::vector<Nodes::AdapterOrders>> Nodes::adapter_orders(store::Connection& connection,
                                                                        const std::vector<store::Attempt>& active) {
  std::vector<AdapterOrders> all;
  for (const store::Attempt& attempt : active) {
    if (attempt.deployment_id.empty() || attempt.ready_url.empty() || attempt.stop_asked) continue;
    auto adapters = conductor_.adapters_for(connection, attempt.deployment_id);
    if (!adapters.ok()) return adapters.status();
    // A new address is an engine that was started again, and has none of them.
    AdapterOrders orders{attempt.id, *std::move(adapters), attempt.ready_url, false};
    for (const AdapterOrder& adapter : orders.adapters) orders.key += "\n" + adapter.name + " " + adapter.artifact_id;
    // With none to load there is nothing to say, unless something was loaded before.
    orders.needed = !orders.adapters.empty() || attempt.adapters != "{}";
    all.push_back(std::move(orders));
  }
  return all;
}

absl::Status Nodes::tidy(store::Transaction& transaction) {
  const int64_t now_ms = transaction.now_ms();
  store::prune_samples(transaction.connection(), now_ms - options_.keep_samples_ms,
                       now_ms - options_.keep_all_samples_ms, options_.sample_stride_ms);
  store::thin_readings(transaction.connection(), now_ms - options_.keep_all_samples_ms, options_.sample_stride_ms);
  store::thin_readings(transaction.connection(), now_ms - options_.keep_minutes_ms, int64_t{3600} * 1000);
  store::release_old_work(transaction.connection(), now_ms - options_.keep_work_ms);
  return absl::OkStatus();
}

}  // namespace slipway::service
