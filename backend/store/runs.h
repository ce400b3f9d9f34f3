// Rows of runs, tasks and attempts, and their queries. Writes take a Transaction's connection; recording the change for
// watchers is the caller's (service/).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "backend/domain/states.h"
#include "backend/store/database.h"
#include "backend/store/paging.h"

namespace slipway::store {

struct Run {
  std::string id;
  std::string name;
  std::string workflow;
  domain::RunState state = domain::RunState::kQueued;
  std::string parameters = "{}";    // JSON object: name -> JSON text, as people see them
  std::string values_json = "{}";   // JSON object: name -> checked value, as templates see them
  std::string results_plan = "{}";  // JSON object: name -> template
  std::string results = "{}";       // JSON object: name -> number
  std::string created_by;
  std::string idempotency_key;  // empty: none
  std::string request_hash;
  int64_t created_at_ms = 0;
  std::optional<int64_t> started_at_ms;
  std::optional<int64_t> finished_at_ms;
  domain::Failure error;
  std::string error_task;
  std::string model_version_id;
  std::string deployment_id;
  std::string sweep_id;            // empty: none
  bool estimate = false;           // measures what a run would take, and makes nothing
  std::string training_hash;       // of what its training depends on
  std::string predictions = "{}";  // JSON object: name -> number, of an estimate with the same hash
};

struct RunInput {
  std::string kind;  // model, dataset
  std::string version_id;
};

struct Task {
  std::string id;
  std::string run_id;
  int position = 0;
  std::string name;
  std::string title;
  std::string kind;
  domain::TaskState state = domain::TaskState::kPending;
  std::string plan = "{}";       // JSON of workflows::Task
  std::string artifacts = "{}";  // JSON object: name -> artifact id
  std::string results = "{}";    // JSON object: name -> value
  int losses = 0;
  std::optional<int64_t> started_at_ms;
  std::optional<int64_t> finished_at_ms;
  domain::Failure error;
  std::string waiting_reason;
  std::string progress_phase;
  int64_t progress_done = 0;
  int64_t progress_total = 0;
  std::string progress_unit;
  double progress_eta_s = -1;
};

struct Attempt {
  std::string id;
  std::string run_id;         // empty for a replica
  std::string task_id;        // empty for a replica
  std::string deployment_id;  // empty for a task's
  int number = 1;
  std::string engine;
  domain::AttemptState state = domain::AttemptState::kPending;
  std::string order_json = "{}";  // spec, inputs, upload_artifacts, return_files, restarts, grace_seconds
  std::string work_key;
  std::string node_id;
  std::string device;
  bool stop_asked = false;
  std::string ready_url;
  // Of a replica: JSON of what became of the adapters loaded into it, {"loaded": [name], "failures": {name: [code,
  // message, advice]}}.
  std::string adapters = "{}";
  bool keep_asked = false;  // of a task's: its engine is to end early and keep what it has
  bool withdrawn = false;   // of a version that the deployment did not move to after all
  // Of a gang: this row is one rank, and rank 0's stands for the attempt.
  int rank = 0;
  std::string leader_id;  // of the other ranks: rank 0's row
  std::string meeting;    // HOST:PORT where the others could meet it; empty until it is prepared
  bool broken = false;    // of rank 0: another rank was lost, so it is to end
  int64_t created_at_ms = 0;
  std::optional<int64_t> started_at_ms;
  std::optional<int64_t> finished_at_ms;
  std::optional<int32_t> exit_code;
  domain::Failure error;
  bool released = false;

  // The run's or the deployment's id, as in log_lines.run_id and run_events.run_id.
  const std::string& scope_id() const { return run_id.empty() ? deployment_id : run_id; }
  const std::string& owner_id() const { return task_id.empty() ? deployment_id : task_id; }
};

void insert_run(Connection& connection, const Run& run);
// Writes every column that may change after the start.
void update_run(Connection& connection, const Run& run);
void insert_run_input(Connection& connection, const std::string& run_id, const RunInput& input);
std::optional<Run> find_run(Connection& connection, const std::string& id);
std::optional<Run> find_run_by_key(Connection& connection, const std::string& idempotency_key);
// Oldest first.
std::vector<std::string> runs_of_sweep(Connection& connection, const std::string& sweep_id);
std::vector<RunInput> inputs_of_run(Connection& connection, const std::string& run_id);
// Runs that took in this model or dataset version, oldest first.
std::vector<std::string> runs_with_input(Connection& connection, const std::string& version_id);
// The newest estimate with this hash that has not failed.
std::optional<Run> find_estimate(Connection& connection, const std::string& training_hash);
// Newest first, without estimates. Filter: words in name or id; state:running, workflow:NAME, sweep:ID.
absl::StatusOr<Page<Run>> list_runs(Connection& connection, const PageRequest& request);
// Ids of the runs that have not ended, oldest first.
std::vector<std::string> unfinished_runs(Connection& connection);
// How many runs that have not ended were made before this one.
int64_t unfinished_runs_before(Connection& connection, const std::string& run_id);

void insert_task(Connection& connection, const Task& task);
void update_task(Connection& connection, const Task& task);
void update_task_progress(Connection& connection, const Task& task);
std::optional<Task> find_task(Connection& connection, const std::string& id);
std::optional<Task> find_task_by_name(Connection& connection, const std::string& run_id, const std::string& name);
// In the workflow's order.
std::vector<Task> tasks_of_run(Connection& connection, const std::string& run_id);

void insert_attempt(Connection& connection, const Attempt& attempt);
void update_attempt(Connection& connection, const Attempt& attempt);
std::optional<Attempt> find_attempt(Connection& connection, const std::string& id);
// By task, number and rank: the one query of several that gives the other ranks of gangs too.
std::vector<Attempt> attempts_of_run(Connection& connection, const std::string& run_id);
std::vector<Attempt> attempts_of_task(Connection& connection, const std::string& task_id);
// The other ranks of the gang that this row leads, by rank; none when it is no gang.
std::vector<Attempt> ranks_of(Connection& connection, const std::string& leader_id);
std::optional<Attempt> latest_attempt_of_task(Connection& connection, const std::string& task_id);
// Without those that were withdrawn.
std::optional<Attempt> latest_attempt_of_deployment(Connection& connection, const std::string& deployment_id);
// The newest of those before `number` that has not ended: what still serves while a new one starts.
std::optional<Attempt> former_attempt_of_deployment(Connection& connection, const std::string& deployment_id,
                                                    int number);
int last_attempt_number_of_deployment(Connection& connection, const std::string& deployment_id);
// That wait for a device, in the order in which they came.
std::vector<Attempt> pending_attempts(Connection& connection);
// Given to a node and not ended; of one node, or of all when empty.
std::vector<Attempt> active_attempts(Connection& connection, const std::string& node_id = "");
// The nodes may delete the work folder of this key, and those of the other ranks.
void release_work(Connection& connection, const std::string& work_key);
// Marks attempts of runs that ended before `before_ms` as released; how many.
int64_t release_old_work(Connection& connection, int64_t before_ms);

// How far a file of an attempt is stored; 0 when nothing is.
int64_t file_end(Connection& connection, const std::string& attempt_id, const std::string& file);
void set_file_end(Connection& connection, const std::string& attempt_id, const std::string& file, int64_t end_offset);

}  // namespace slipway::store
