// Deployments and their replicas. See conductor.h.
#include <algorithm>

#include "backend/base/ids.h"
#include "backend/base/status.h"
#include "backend/service/conductor.h"
#include "backend/service/serving_settings.h"
#include "backend/store/nodes.h"

namespace slipway::service {
namespace {

using domain::AttemptState;
using domain::DeploymentState;
using domain::TaskState;
using workflows::Json;

constexpr int kReplicaRestarts = 20;
constexpr int kReplicaGraceSeconds = 35;  // slipway-serve drains for 30

domain::ReplicaFacts facts_of(store::Connection& connection, const store::Attempt& attempt) {
  const auto node = store::find_node(connection, attempt.node_id);
  return {attempt.state, attempt.stop_asked, !attempt.ready_url.empty(), !node || node->online};
}

// What is said beside the state.
std::string note_on(store::Connection& connection, const domain::DeploymentDecision& decision,
                    const store::Attempt* replica) {
  if (decision.state == DeploymentState::kUnreachable && replica != nullptr) {
    const auto node = store::find_node(connection, replica->node_id);
    return "node " + (node ? node->name : replica->node_id) + " is offline; calls are still tried";
  }
  return decision.serve_former && !decision.withdraw ? "the former version serves until the new one is ready" : "";
}

std::string folder_of(const std::string& folder, const std::string& path) {
  return path.empty() ? folder : folder + "/" + path;
}

}  // namespace

absl::Status Conductor::describe(store::Transaction& transaction, store::Deployment& deployment) {
  const auto version = registry_.find_model_version(transaction.connection(), deployment.model_version_id);
  if (!version.ok()) return version.status();
  if (version->reward) {
    return base::failed_precondition("REWARD_MODEL",
                                     version->label + " is a reward model: it scores texts and writes none",
                                     "deploy a model that writes; score with transformers from this one's files");
  }
  deployment.model_version_id = version->id;
  deployment.model_label = version->label;
  deployment.served_names = {deployment.name};
  deployment.base_version_id.clear();
  deployment.base_label.clear();
  if (!version->adapter) return absl::OkStatus();
  const auto base = registry_.find_model_version(transaction.connection(), version->base_version_id);
  if (!base.ok()) return base.status();
  deployment.base_version_id = base->id;
  deployment.base_label = base->label;
  deployment.served_names = domain::names_of_tasks(deployment.name, version->tasks);
  deployment.served_names.push_back(deployment.name + "-base");
  return absl::OkStatus();
}

absl::StatusOr<std::string> Conductor::deploy(store::Transaction& transaction, const DeploymentRequest& request,
                                              bool replace) {
  store::Connection& connection = transaction.connection();
  auto existing = store::find_deployment_by_reference(connection, request.name);
  if (existing && !replace) {
    return base::already_exists("deployment", request.name, "choose another name, or start and stop that one");
  }
  store::Deployment deployment = existing.value_or(store::Deployment());
  deployment.name = existing ? existing->name : request.name;
  deployment.model_version_id = request.model_version_id;
  deployment.settings = request.settings;
  deployment.run_id = request.run_id;
  deployment.wanted = domain::Wanted::kRunning;
  deployment.losses = 0;
  deployment.error = {};
  const absl::Status described = describe(transaction, deployment);
  if (!described.ok()) return described;
  for (const std::string& name : deployment.served_names) {
    const absl::Status free = check_free_name(connection, deployment.id, name, "name");
    if (!free.ok()) return free;
  }
  if (!existing) {
    deployment.id = base::new_id("deployment", transaction.now_ms());
    deployment.created_at_ms = transaction.now_ms();
    store::insert_deployment(connection, deployment);
  } else {
    store::update_deployment(connection, deployment);
    // What it serves until now goes on until the new replica is ready: advance_deployment ends it then. One that is not
    // ready yet leaves at once.
    if (auto replica = store::latest_attempt_of_deployment(connection, deployment.id);
        replica && !is_final(replica->state)) {
      if (replica->state == AttemptState::kPending) {
        replica->stop_asked = true;
        replica->state = AttemptState::kStopped;
        replica->finished_at_ms = transaction.now_ms();
        store::update_attempt(connection, *replica);
      } else {
        if (replica->ready_url.empty()) replica->stop_asked = true;
        store::update_attempt(connection, *replica);
        const absl::Status queued = queue_replica(transaction, deployment);
        if (!queued.ok()) return queued;
      }
    }
  }
  const absl::Status status = start_deployment(transaction, deployment.id);
  if (!status.ok()) return status;
  return deployment.id;
}

absl::Status Conductor::start_deployment(store::Transaction& transaction, const std::string& id) {
  auto deployment = store::find_deployment(transaction.connection(), id);
  if (!deployment) return base::not_found("deployment", id);
  deployment->wanted = domain::Wanted::kRunning;
  deployment->losses = 0;
  deployment->error = {};
  store::update_deployment(transaction.connection(), *deployment);
  const auto replica = store::latest_attempt_of_deployment(transaction.connection(), id);
  if (replica && is_final(replica->state)) {
    const absl::Status status = queue_replica(transaction, *deployment);
    if (!status.ok()) return status;
  }
  return advance_deployment(transaction, id);
}

absl::Status Conductor::stop_deployment(store::Transaction& transaction, const std::string& id) {
  auto deployment = store::find_deployment(transaction.connection(), id);
  if (!deployment) return base::not_found("deployment", id);
  deployment->wanted = domain::Wanted::kStopped;
  deployment->error = {};
  store::update_deployment(transaction.connection(), *deployment);
  return advance_deployment(transaction, id);
}

absl::Status Conductor::queue_replica(store::Transaction& transaction, const store::Deployment& deployment) {
  store::Connection& connection = transaction.connection();
  const auto version = registry_.find_model_version(connection, deployment.model_version_id);
  if (!version.ok()) return version.status();
  ModelVersionFacts base = *version;
  if (version->adapter) {
    auto found = registry_.find_model_version(connection, version->base_version_id);
    if (!found.ok()) return found.status();
    base = *std::move(found);
  }
  Json spec = {
      {"version", 1},
      {"kind", "serve"},
      {"model",
       {{"path", folder_of("inputs/model", base.path)}, {"served_model_name", deployment.served_names.back()}}},
      {"adapters", Json::array()},
      {"listen", "127.0.0.1:0"}};
  add_to_spec(deployment.settings, spec);
  Json inputs = {{{"artifact_id", base.artifact_id}, {"path", "inputs/model"}}};
  if (version->adapter) {
    // All names but the last, the base model's, are those of the adapter's tasks in turn.
    for (size_t task = 0; task + 1 < deployment.served_names.size(); ++task) {
      spec["adapters"].push_back(
          {{"name", deployment.served_names[task]}, {"path", folder_of("inputs/adapter", version->path)}});
      if (task > 0) spec["adapters"].back()["task_id"] = task;
    }
    inputs.push_back({{"artifact_id", version->artifact_id}, {"path", "inputs/adapter"}});
  }
  store::Attempt attempt;
  attempt.id = base::new_id("attempt", transaction.now_ms());
  attempt.deployment_id = deployment.id;
  attempt.number = store::last_attempt_number_of_deployment(connection, deployment.id) + 1;
  attempt.engine = "serve";
  attempt.order_json = Json{{"spec", spec},
                            {"inputs", inputs},
                            {"upload_artifacts", Json::array()},
                            {"return_files", Json::array()},
                            {"model_version_id", deployment.model_version_id},
                            {"settings", store::as_json(deployment.settings)},
                            {"restarts", kReplicaRestarts},
                            {"grace_seconds", kReplicaGraceSeconds}}
                           .dump();
  attempt.work_key = attempt.id;
  attempt.created_at_ms = transaction.now_ms();
  store::insert_attempt(connection, attempt);
  return absl::OkStatus();
}

absl::Status Conductor::advance_deployment(store::Transaction& transaction, const std::string& id) {
  store::Connection& connection = transaction.connection();
  auto deployment = store::find_deployment(connection, id);
  if (!deployment) return absl::OkStatus();  // deleted while its replica left
  // A decision may ask for a new replica, whose state then counts: at most two rounds.
  for (int round = 0; round < 3; ++round) {
    auto replica = store::latest_attempt_of_deployment(connection, id);
    std::optional<store::Attempt> former;
    if (replica) former = store::former_attempt_of_deployment(connection, id, replica->number);
    domain::DeploymentFacts facts{deployment->wanted, std::nullopt, deployment->losses, std::nullopt};
    if (replica) facts.replica = facts_of(connection, *replica);
    if (former) facts.former = facts_of(connection, *former);
    const domain::DeploymentDecision decision = domain::advance_deployment(facts);
    if (decision.new_replica) {
      const absl::Status queued = queue_replica(transaction, *deployment);
      if (queued.ok()) continue;
      deployment->state = DeploymentState::kFailed;
      deployment->error = {base::detail_of(queued).reason, std::string(queued.message()),
                           base::detail_of(queued).advice};
      break;
    }
    if (decision.withdraw) {
      const absl::Status withdrawn = withdraw(transaction, *deployment, *replica, *former);
      if (!withdrawn.ok()) return withdrawn;
    }
    if (replica && (decision.stop_replica || decision.drop_replica)) {
      replica->stop_asked = true;
      if (decision.drop_replica) {
        replica->state = AttemptState::kStopped;
        replica->finished_at_ms = transaction.now_ms();
      }
      store::update_attempt(connection, *replica);
    }
    if (decision.stop_former) {
      former->stop_asked = true;
      store::update_attempt(connection, *former);
    }
    const store::Attempt* serving = decision.serve_former ? &*former : replica ? &*replica : nullptr;
    const bool serves = decision.serve_former || decision.state == DeploymentState::kReady ||
                        decision.state == DeploymentState::kUnreachable;
    if (decision.state == DeploymentState::kReady && deployment->url.empty()) {
      deployment->ready_at_ms = transaction.now_ms();
    }
    deployment->state = decision.state;
    if (decision.state == DeploymentState::kFailed && replica) deployment->error = replica->error;
    deployment->url = serves && serving != nullptr ? serving->ready_url : "";
    const std::string note = note_on(connection, decision, serving);
    if (deployment->state != DeploymentState::kQueued || !note.empty()) deployment->waiting_reason = note;
    break;
  }
  store::update_deployment(connection, *deployment);
  transaction.changed("deployment", id, deployment->run_id);
  return settle_deploy_task(transaction, *deployment);
}

absl::Status Conductor::withdraw(store::Transaction& transaction, store::Deployment& deployment, store::Attempt& failed,
                                 const store::Attempt& former) {
  const Json order = Json::parse(former.order_json);
  const std::string wanted = deployment.model_label;
  deployment.model_version_id = order.at("model_version_id");
  deployment.settings = store::serving_settings_of(order.at("settings"));
  const absl::Status described = describe(transaction, deployment);
  if (!described.ok()) return described;
  deployment.error = failed.error;
  deployment.error.message =
      wanted + " could not be served, " + deployment.model_label + " still is: " + failed.error.message;
  failed.withdrawn = true;
  store::update_attempt(transaction.connection(), failed);
  return absl::OkStatus();
}

absl::Status Conductor::advance_replicas_of(store::Transaction& transaction, const std::string& node_id) {
  for (const store::Attempt& attempt : store::active_attempts(transaction.connection(), node_id)) {
    if (attempt.deployment_id.empty()) continue;
    const absl::Status status = advance_deployment(transaction, attempt.deployment_id);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Conductor::make_room(store::Transaction& transaction, const std::string& id) {
  store::Connection& connection = transaction.connection();
  const auto replica = store::latest_attempt_of_deployment(connection, id);
  if (!replica || replica->state != AttemptState::kPending) return absl::OkStatus();
  auto former = store::former_attempt_of_deployment(connection, id, replica->number);
  if (!former || former->stop_asked || !facts_of(connection, *former).reachable) return absl::OkStatus();
  former->stop_asked = true;
  store::update_attempt(connection, *former);
  return advance_deployment(transaction, id);
}

absl::Status Conductor::settle_deploy_task(store::Transaction& transaction, const store::Deployment& deployment) {
  if (deployment.run_id.empty()) return absl::OkStatus();
  for (store::Task& task : store::tasks_of_run(transaction.connection(), deployment.run_id)) {
    if (task.kind != "deploy" || task.state != TaskState::kRunning) continue;
    if (deployment.state == DeploymentState::kReady && deployment.error.empty()) {
      task.state = TaskState::kSucceeded;
      task.finished_at_ms = transaction.now_ms();
      task.waiting_reason.clear();
      store::update_task(transaction.connection(), task);
      note(transaction, task.run_id, task.id, "", "task", "deployment " + deployment.name + " is ready");
    } else if (deployment.state == DeploymentState::kFailed || !deployment.error.empty()) {
      fail_task(transaction, task, deployment.error);
    } else if (deployment.state == DeploymentState::kStopped) {
      cancel_task(transaction, task);
    } else {
      continue;
    }
    transaction.changed("run", task.run_id, task.run_id);
    return advance_run(transaction, task.run_id);
  }
  return absl::OkStatus();
}

}  // namespace slipway::service
