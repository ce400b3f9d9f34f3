// Queries of attempts; declared in runs.h.
#include "backend/store/row.h"
#include "backend/store/runs.h"

namespace slipway::store {
namespace {

constexpr char kColumns[] =
    "id, run_id, task_id, deployment_id, number, engine, state, order_json, work_key, node_id, device, stop_asked, "
    "ready_url, created_at_ms, started_at_ms, finished_at_ms, exit_code, error_code, error_message, error_advice, "
    "released, adapters, withdrawn, keep_asked, rank, leader_id, meeting, broken";

Attempt read_attempt(SQLite::Statement& statement) {
  RowReader row(statement);
  Attempt attempt;
  attempt.id = row.text();
  attempt.run_id = row.text();
  attempt.task_id = row.text();
  attempt.deployment_id = row.text();
  attempt.number = static_cast<int>(row.integer());
  attempt.engine = row.text();
  attempt.state = domain::attempt_state_of(row.text()).value();
  attempt.order_json = row.text();
  attempt.work_key = row.text();
  attempt.node_id = row.text();
  attempt.device = row.text();
  attempt.stop_asked = row.boolean();
  attempt.ready_url = row.text();
  attempt.created_at_ms = row.integer();
  attempt.started_at_ms = row.maybe_integer();
  attempt.finished_at_ms = row.maybe_integer();
  if (const auto exit_code = row.maybe_integer()) attempt.exit_code = static_cast<int32_t>(*exit_code);
  attempt.error = row.failure();
  attempt.released = row.boolean();
  attempt.adapters = row.text();
  attempt.withdrawn = row.boolean();
  attempt.keep_asked = row.boolean();
  attempt.rank = static_cast<int>(row.integer());
  attempt.leader_id = row.text();
  attempt.meeting = row.text();
  attempt.broken = row.boolean();
  return attempt;
}

std::string select(const std::string& rest) { return std::string("SELECT ") + kColumns + " FROM attempts " + rest; }

}  // namespace

void insert_attempt(Connection& connection, const Attempt& attempt) {
  SQLite::Statement insert(
      connection,
      "INSERT INTO attempts (id, run_id, task_id, deployment_id, number, engine, state, order_json, "
      "work_key, created_at_ms, rank, leader_id) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)");
  RowWriter(insert) << attempt.id << attempt.run_id << attempt.task_id << attempt.deployment_id << attempt.number
                    << attempt.engine << name_of(attempt.state) << attempt.order_json << attempt.work_key
                    << attempt.created_at_ms << attempt.rank << attempt.leader_id;
  insert.exec();
}

void update_attempt(Connection& connection, const Attempt& attempt) {
  SQLite::Statement update(connection,
                           "UPDATE attempts SET state = ?, node_id = ?, device = ?, stop_asked = ?, ready_url = ?, "
                           "started_at_ms = ?, finished_at_ms = ?, exit_code = ?, error_code = ?, error_message = ?, "
                           "error_advice = ?, released = ?, adapters = ?, withdrawn = ?, keep_asked = ?, "
                           "meeting = ?, broken = ? WHERE id = ?");
  RowWriter(update) << name_of(attempt.state) << attempt.node_id << attempt.device << attempt.stop_asked
                    << attempt.ready_url << attempt.started_at_ms << attempt.finished_at_ms << attempt.exit_code
                    << attempt.error << attempt.released << attempt.adapters << attempt.withdrawn << attempt.keep_asked
                    << attempt.meeting << attempt.broken << attempt.id;
  update.exec();
}

std::optional<Attempt> find_attempt(Connection& connection, const std::string& id) {
  return query_one(connection, select("WHERE id = ?"), read_attempt, id);
}

std::vector<Attempt> attempts_of_run(Connection& connection, const std::string& run_id) {
  return query_all(connection,
                   select("WHERE task_id IN (SELECT id FROM tasks WHERE run_id = ?) ORDER BY task_id, number, "
                          "rank"),
                   read_attempt, run_id);
}

std::vector<Attempt> attempts_of_task(Connection& connection, const std::string& task_id) {
  return query_all(connection, select("WHERE task_id = ? AND leader_id = '' ORDER BY number"), read_attempt, task_id);
}

std::vector<Attempt> ranks_of(Connection& connection, const std::string& leader_id) {
  return query_all(connection, select("WHERE leader_id = ? ORDER BY rank"), read_attempt, leader_id);
}

std::optional<Attempt> latest_attempt_of_task(Connection& connection, const std::string& task_id) {
  return query_one(connection, select("WHERE task_id = ? AND leader_id = '' ORDER BY number DESC LIMIT 1"),
                   read_attempt, task_id);
}

std::optional<Attempt> latest_attempt_of_deployment(Connection& connection, const std::string& deployment_id) {
  return query_one(connection, select("WHERE deployment_id = ? AND withdrawn = 0 ORDER BY number DESC LIMIT 1"),
                   read_attempt, deployment_id);
}

std::optional<Attempt> former_attempt_of_deployment(Connection& connection, const std::string& deployment_id,
                                                    int number) {
  return query_one(connection,
                   select("WHERE deployment_id = ? AND number < ? AND state IN ('starting', 'running') "
                          "ORDER BY number DESC LIMIT 1"),
                   read_attempt, deployment_id, number);
}

int last_attempt_number_of_deployment(Connection& connection, const std::string& deployment_id) {
  return query_one(
             connection, "SELECT coalesce(max(number), 0) FROM attempts WHERE deployment_id = ?",
             [](SQLite::Statement& row) { return row.getColumn(0).getInt(); }, deployment_id)
      .value_or(0);
}

std::vector<Attempt> pending_attempts(Connection& connection) {
  // Tasks that became ready at the same moment go in their workflow's order.
  return query_all(connection,
                   select("WHERE state = 'pending' ORDER BY created_at_ms, "
                          "(SELECT position FROM tasks WHERE tasks.id = task_id), id"),
                   read_attempt);
}

std::vector<Attempt> active_attempts(Connection& connection, const std::string& node_id) {
  return query_all(connection,
                   select("WHERE state IN ('starting', 'running') AND (?1 = '' OR node_id = ?1) ORDER BY id"),
                   read_attempt, node_id);
}

void release_work(Connection& connection, const std::string& work_key) {
  execute(connection,
          "UPDATE attempts SET released = 1 WHERE work_key = ?1 OR "
          "leader_id IN (SELECT id FROM attempts WHERE work_key = ?1)",
          work_key);
}

int64_t release_old_work(Connection& connection, int64_t before_ms) {
  execute(connection,
          "UPDATE attempts SET released = 1 WHERE released = 0 AND task_id IN (SELECT tasks.id FROM tasks JOIN runs "
          "ON runs.id = tasks.run_id WHERE runs.finished_at_ms < ?)",
          before_ms);
  return connection.getChanges();
}

int64_t file_end(Connection& connection, const std::string& attempt_id, const std::string& file) {
  return query_one(
             connection, "SELECT end_offset FROM attempt_files WHERE attempt_id = ? AND file = ?",
             [](SQLite::Statement& row) { return row.getColumn(0).getInt64(); }, attempt_id, file)
      .value_or(0);
}

void set_file_end(Connection& connection, const std::string& attempt_id, const std::string& file, int64_t end_offset) {
  execute(connection,
          "INSERT INTO attempt_files (attempt_id, file, end_offset) VALUES (?, ?, ?) "
          "ON CONFLICT (attempt_id, file) DO UPDATE SET end_offset = excluded.end_offset",
          attempt_id, file, end_offset);
}

}  // namespace slipway::store
