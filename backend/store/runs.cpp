#include "backend/store/runs.h"

#include "backend/store/row.h"

namespace slipway::store {
namespace {

constexpr char kRunColumns[] =
    "id, name, workflow, state, parameters, values_json, results_plan, results, created_by, idempotency_key, "
    "request_hash, created_at_ms, started_at_ms, finished_at_ms, error_code, error_message, error_advice, error_task, "
    "model_version_id, deployment_id, sweep_id, estimate, training_hash, predictions";
constexpr char kTaskColumns[] =
    "id, run_id, position, name, title, kind, state, plan, artifacts, results, losses, started_at_ms, finished_at_ms, "
    "error_code, error_message, error_advice, waiting_reason, progress_phase, progress_done, progress_total, "
    "progress_unit, progress_eta_s";
constexpr char kUnfinished[] = "state IN ('queued', 'running', 'cancelling')";

Run read_run(SQLite::Statement& statement) {
  RowReader row(statement);
  Run run;
  run.id = row.text();
  run.name = row.text();
  run.workflow = row.text();
  run.state = domain::run_state_of(row.text()).value();
  run.parameters = row.text();
  run.values_json = row.text();
  run.results_plan = row.text();
  run.results = row.text();
  run.created_by = row.text();
  run.idempotency_key = row.text();
  run.request_hash = row.text();
  run.created_at_ms = row.integer();
  run.started_at_ms = row.maybe_integer();
  run.finished_at_ms = row.maybe_integer();
  run.error = row.failure();
  run.error_task = row.text();
  run.model_version_id = row.text();
  run.deployment_id = row.text();
  run.sweep_id = row.text();
  run.estimate = row.boolean();
  run.training_hash = row.text();
  run.predictions = row.text();
  return run;
}

Task read_task(SQLite::Statement& statement) {
  RowReader row(statement);
  Task task;
  task.id = row.text();
  task.run_id = row.text();
  task.position = static_cast<int>(row.integer());
  task.name = row.text();
  task.title = row.text();
  task.kind = row.text();
  task.state = domain::task_state_of(row.text()).value();
  task.plan = row.text();
  task.artifacts = row.text();
  task.results = row.text();
  task.losses = static_cast<int>(row.integer());
  task.started_at_ms = row.maybe_integer();
  task.finished_at_ms = row.maybe_integer();
  task.error = row.failure();
  task.waiting_reason = row.text();
  task.progress_phase = row.text();
  task.progress_done = row.integer();
  task.progress_total = row.integer();
  task.progress_unit = row.text();
  task.progress_eta_s = row.number();
  return task;
}

}  // namespace

void insert_run(Connection& connection, const Run& run) {
  SQLite::Statement insert(connection, std::string("INSERT INTO runs (") + kRunColumns +
                                           ") VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)");
  const auto key = run.idempotency_key.empty() ? std::nullopt : std::optional(run.idempotency_key);
  RowWriter(insert) << run.id << run.name << run.workflow << name_of(run.state) << run.parameters << run.values_json
                    << run.results_plan << run.results << run.created_by << key << run.request_hash << run.created_at_ms
                    << run.started_at_ms << run.finished_at_ms << run.error << run.error_task << run.model_version_id
                    << run.deployment_id << run.sweep_id << run.estimate << run.training_hash << run.predictions;
  insert.exec();
}

void update_run(Connection& connection, const Run& run) {
  SQLite::Statement update(
      connection,
      "UPDATE runs SET state = ?, results = ?, started_at_ms = ?, finished_at_ms = ?, error_code = ?, "
      "error_message = ?, error_advice = ?, error_task = ?, model_version_id = ?, deployment_id = ? "
      "WHERE id = ?");
  RowWriter(update) << name_of(run.state) << run.results << run.started_at_ms << run.finished_at_ms << run.error
                    << run.error_task << run.model_version_id << run.deployment_id << run.id;
  update.exec();
}

void insert_run_input(Connection& connection, const std::string& run_id, const RunInput& input) {
  execute(connection, "INSERT OR IGNORE INTO run_inputs (run_id, kind, version_id) VALUES (?, ?, ?)", run_id,
          input.kind, input.version_id);
}

std::optional<Run> find_run(Connection& connection, const std::string& id) {
  return query_one(connection, std::string("SELECT ") + kRunColumns + " FROM runs WHERE id = ?", read_run, id);
}

std::optional<Run> find_run_by_key(Connection& connection, const std::string& idempotency_key) {
  return query_one(connection, std::string("SELECT ") + kRunColumns + " FROM runs WHERE idempotency_key = ?", read_run,
                   idempotency_key);
}

std::optional<Run> find_estimate(Connection& connection, const std::string& training_hash) {
  return query_one(connection,
                   std::string("SELECT ") + kRunColumns +
                       " FROM runs WHERE training_hash = ? AND estimate = 1 AND state IN ('queued', 'running', "
                       "'succeeded') ORDER BY id DESC LIMIT 1",
                   read_run, training_hash);
}

std::vector<std::string> runs_of_sweep(Connection& connection, const std::string& sweep_id) {
  return query_all(
      connection, "SELECT id FROM runs WHERE sweep_id = ? ORDER BY id",
      [](SQLite::Statement& row) { return row.getColumn(0).getString(); }, sweep_id);
}

std::vector<RunInput> inputs_of_run(Connection& connection, const std::string& run_id) {
  return query_all(
      connection, "SELECT kind, version_id FROM run_inputs WHERE run_id = ? ORDER BY kind, version_id",
      [](SQLite::Statement& statement) {
        RowReader row(statement);
        RunInput input;
        input.kind = row.text();
        input.version_id = row.text();
        return input;
      },
      run_id);
}

std::vector<std::string> runs_with_input(Connection& connection, const std::string& version_id) {
  return query_all(
      connection, "SELECT run_id FROM run_inputs WHERE version_id = ? ORDER BY run_id",
      [](SQLite::Statement& row) { return row.getColumn(0).getString(); }, version_id);
}

absl::StatusOr<Page<Run>> list_runs(Connection& connection, const PageRequest& request) {
  ListQuery query;
  query.columns = kRunColumns;
  query.from = "runs";
  query.key = "id";
  query.descending = true;
  query.searched = {"name", "id"};
  query.where = "estimate = 0";
  query.filters = {{"state", "state"}, {"workflow", "workflow"}, {"sweep", "sweep_id"}};
  return list_page(connection, query, request, read_run);
}

std::vector<std::string> unfinished_runs(Connection& connection) {
  return query_all(connection, std::string("SELECT id FROM runs WHERE ") + kUnfinished + " ORDER BY id",
                   [](SQLite::Statement& row) { return row.getColumn(0).getString(); });
}

int64_t unfinished_runs_before(Connection& connection, const std::string& run_id) {
  return query_one(
             connection, std::string("SELECT count(*) FROM runs WHERE ") + kUnfinished + " AND estimate = 0 AND id < ?",
             [](SQLite::Statement& row) { return row.getColumn(0).getInt64(); }, run_id)
      .value_or(0);
}

void insert_task(Connection& connection, const Task& task) {
  SQLite::Statement insert(
      connection, "INSERT INTO tasks (id, run_id, position, name, title, kind, state, plan) VALUES (?,?,?,?,?,?,?,?)");
  RowWriter(insert) << task.id << task.run_id << task.position << task.name << task.title << task.kind
                    << name_of(task.state) << task.plan;
  insert.exec();
}

void update_task(Connection& connection, const Task& task) {
  SQLite::Statement update(
      connection,
      "UPDATE tasks SET state = ?, artifacts = ?, results = ?, losses = ?, started_at_ms = ?, "
      "finished_at_ms = ?, error_code = ?, error_message = ?, error_advice = ?, waiting_reason = ? "
      "WHERE id = ?");
  RowWriter(update) << name_of(task.state) << task.artifacts << task.results << task.losses << task.started_at_ms
                    << task.finished_at_ms << task.error << task.waiting_reason << task.id;
  update.exec();
}

void update_task_progress(Connection& connection, const Task& task) {
  SQLite::Statement update(connection,
                           "UPDATE tasks SET progress_phase = ?, progress_done = ?, progress_total = ?, "
                           "progress_unit = ?, progress_eta_s = ? WHERE id = ?");
  RowWriter(update) << task.progress_phase << task.progress_done << task.progress_total << task.progress_unit
                    << task.progress_eta_s << task.id;
  update.exec();
}

std::optional<Task> find_task(Connection& connection, const std::string& id) {
  return query_one(connection, std::string("SELECT ") + kTaskColumns + " FROM tasks WHERE id = ?", read_task, id);
}

std::optional<Task> find_task_by_name(Connection& connection, const std::string& run_id, const std::string& name) {
  return query_one(connection, std::string("SELECT ") + kTaskColumns + " FROM tasks WHERE run_id = ? AND name = ?",
                   read_task, run_id, name);
}

std::vector<Task> tasks_of_run(Connection& connection, const std::string& run_id) {
  return query_all(connection, std::string("SELECT ") + kTaskColumns + " FROM tasks WHERE run_id = ? ORDER BY position",
                   read_task, run_id);
}

}  // namespace slipway::store
