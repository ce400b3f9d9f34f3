// Moves runs and deployments on: carries out what domain/ decides, inside the transaction that changed a state. Called
// by the services of runs, deployments and agents on the writer's thread; holds no state of its own.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backend/domain/place.h"
#include "backend/service/agent_link.h"
#include "backend/service/model_registry.h"
#include "backend/store/deployments.h"
#include "backend/store/runs.h"
#include "workflows/workflow.h"

namespace slipway::service {

// What an engine that was started to measure only prints its answer into.
inline constexpr char kEstimateFile[] = "stdout.log";

class Conductor {
 public:
  explicit Conductor(ModelRegistry& registry) : registry_(registry) {}

  // Does everything that follows from the states of the run's tasks.
  absl::Status advance_run(store::Transaction& transaction, const std::string& run_id);

  // An agent says how an attempt stands. Saying it again changes nothing.
  absl::Status report(store::Transaction& transaction, const store::Attempt& attempt, const AttemptReport& report);
  // A gang was placed: makes the rows of its other ranks. placements: by rank, rank 0's first, which `leader` has
  // already.
  void form_gang(store::Transaction& transaction, const store::Attempt& leader,
                 const std::vector<domain::Placement>& placements);
  // The attempt is given up: its node no longer knows it, or is gone.
  absl::Status lose(store::Transaction& transaction, const store::Attempt& attempt, const std::string& why);
  // A line of the attempt's events file.
  absl::Status take_event(store::Transaction& transaction, const std::string& attempt_id, const std::string& line,
                          int64_t received_ms);

  struct DeploymentRequest {
    std::string name;
    std::string model_version_id;
    domain::ServingSettings settings;  // checked
    std::string run_id;                // of the run that deploys; empty by hand
  };
  // Makes the deployment, or, with replace, moves the one of this name over to the version. Its id.
  absl::StatusOr<std::string> deploy(store::Transaction& transaction, const DeploymentRequest& request, bool replace);
  absl::Status start_deployment(store::Transaction& transaction, const std::string& id);
  absl::Status stop_deployment(store::Transaction& transaction, const std::string& id);
  absl::Status advance_deployment(store::Transaction& transaction, const std::string& id);
  // The replicas on a node that came or went.
  absl::Status advance_replicas_of(store::Transaction& transaction, const std::string& node_id);
  // A new replica finds no device while the former holds one: the former leaves first.
  absl::Status make_room(store::Transaction& transaction, const std::string& id);
  // Whether this name is free for a deployment, or an adapter of it: no other serves it. `id`: the deployment's own.
  static absl::Status check_free_name(store::Connection& connection, const std::string& id, const std::string& name,
                                      const std::string& field);
  // What a replica of the deployment is to have beside its spec.
  absl::StatusOr<std::vector<AdapterOrder>> adapters_for(store::Connection& connection, const std::string& id);
  // What became of them.
  absl::Status take_adapters(store::Transaction& transaction, const store::Attempt& attempt,
                             const AdaptersReport& report);

  // An event of the backend's own, for the run's page.
  static void note(store::Transaction& transaction, const std::string& run_id, const std::string& task_id,
                   const std::string& attempt_id, const std::string& type, const std::string& message);

 private:
  // conductor_tasks.cpp
  absl::Status queue_task(store::Transaction& transaction, const store::Run& run, store::Task task);
  absl::Status do_task(store::Transaction& transaction, store::Run& run, store::Task task);
  absl::StatusOr<bool> gate(const workflows::Json& with, store::Task& task);
  absl::Status register_model(store::Transaction& transaction, store::Run& run, const workflows::Json& with,
                              store::Task& task);
  absl::Status deploy_model(store::Transaction& transaction, store::Run& run, const workflows::Json& with,
                            store::Task& task);
  void fail_task(store::Transaction& transaction, store::Task& task, const domain::Failure& failure);
  bool stop_task(store::Transaction& transaction, store::Task& task);
  void cancel_task(store::Transaction& transaction, store::Task& task);
  void end_run(store::Transaction& transaction, store::Run& run, domain::RunState state);
  void refresh_results(store::Transaction& transaction, store::Run& run);

  // conductor_attempts.cpp
  absl::Status end_attempt(store::Transaction& transaction, store::Attempt attempt, domain::AttemptState state,
                           const AttemptReport& report);
  absl::Status end_task_attempt(store::Transaction& transaction, const store::Attempt& attempt,
                                const AttemptReport& report);
  absl::Status replica_event(store::Transaction& transaction, store::Attempt attempt, const std::string& type,
                             const std::string& url);

  // conductor_gangs.cpp
  absl::Status report_rank(store::Transaction& transaction, store::Attempt rank, const AttemptReport& report);
  absl::Status end_rank(store::Transaction& transaction, store::Attempt rank, domain::AttemptState state,
                        const AttemptReport& report);
  void stop_ranks(store::Transaction& transaction, const std::string& leader_id);

  // conductor_deployments.cpp
  absl::Status queue_replica(store::Transaction& transaction, const store::Deployment& deployment);
  absl::Status settle_deploy_task(store::Transaction& transaction, const store::Deployment& deployment);
  absl::Status describe(store::Transaction& transaction, store::Deployment& deployment);
  absl::Status withdraw(store::Transaction& transaction, store::Deployment& deployment, store::Attempt& failed,
                        const store::Attempt& former);

  ModelRegistry& registry_;
};

// The engine's own error event says most; then what the agent says; then the exit.
domain::Failure failure_of(const store::Attempt& attempt, const AttemptReport& report);

// What templates of the run's tasks see: parameters, run, and the outputs of the tasks so far.
workflows::Json template_scope(const store::Run& run, const std::vector<store::Task>& tasks);

}  // namespace slipway::service
