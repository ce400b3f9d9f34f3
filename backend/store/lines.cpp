#include "backend/store/lines.h"

#include <algorithm>

#include "backend/store/row.h"

namespace slipway::store {
namespace {

constexpr char kLogSelect[] =
    "SELECT log_lines.position, log_lines.number, stream, time_ms, text, coalesce(tasks.name, ''), "
    "coalesce(attempts.number, 0), coalesce(attempts.rank, 0) FROM log_lines LEFT JOIN tasks ON tasks.id = owner_id "
    "LEFT JOIN attempts ON attempts.id = attempt_id ";
constexpr char kEventSelect[] =
    "SELECT run_events.position, time_ms, seq, type, json, message, coalesce(tasks.name, ''), "
    "coalesce(attempts.number, 0) FROM run_events LEFT JOIN tasks ON tasks.id = owner_id "
    "LEFT JOIN attempts ON attempts.id = attempt_id ";

LogLine read_line(SQLite::Statement& statement) {
  RowReader row(statement);
  LogLine line;
  line.position = row.integer();
  line.number = row.integer();
  line.stream = row.text();
  line.time_ms = row.integer();
  line.text = row.text();
  line.task_name = row.text();
  line.attempt_number = static_cast<int>(row.integer());
  line.rank = static_cast<int>(row.integer());
  return line;
}

RunEvent read_event(SQLite::Statement& statement) {
  RowReader row(statement);
  RunEvent event;
  event.position = row.integer();
  event.time_ms = row.integer();
  event.seq = row.integer();
  event.type = row.text();
  event.json = row.text();
  event.message = row.text();
  event.task_name = row.text();
  event.attempt_number = static_cast<int>(row.integer());
  return event;
}

std::string anywhere(const std::string& text) {
  std::string pattern = "%";
  for (const char c : text) {
    if (c == '%' || c == '_' || c == '\\') pattern += '\\';
    pattern += c;
  }
  return pattern + "%";
}

MetricPoint read_point(SQLite::Statement& statement) {
  RowReader row(statement);
  MetricPoint point;
  point.step = row.integer();
  point.value = row.number();
  point.time_ms = row.integer();
  return point;
}

}  // namespace

void insert_log_lines(Transaction& transaction, const LineOwner& owner, const std::string& stream, int64_t time_ms,
                      const std::vector<std::string>& lines) {
  int64_t number =
      query_one(
          transaction.connection(), "SELECT coalesce(max(number), -1) FROM log_lines WHERE owner_id = ? AND stream = ?",
          [](SQLite::Statement& row) { return row.getColumn(0).getInt64(); }, owner.owner_id, stream)
          .value_or(-1);
  SQLite::Statement insert(
      transaction.connection(),
      "INSERT INTO log_lines (position, run_id, owner_id, attempt_id, number, stream, time_ms, text) "
      "VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
  for (const std::string& line : lines) {
    SQLite::bind(insert, transaction.next_position(), owner.scope_id, owner.owner_id, owner.attempt_id, ++number,
                 stream, time_ms, line);
    insert.exec();
    insert.reset();
  }
}

void insert_event(Transaction& transaction, const LineOwner& owner, const RunEvent& event) {
  execute(transaction.connection(),
          "INSERT INTO run_events (position, run_id, owner_id, attempt_id, time_ms, seq, type, json, message) "
          "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
          transaction.next_position(), owner.scope_id, owner.owner_id, owner.attempt_id, event.time_ms, event.seq,
          event.type, event.json, event.message);
}

LogResult list_log_lines(Connection& connection, const LogQuery& query) {
  std::string where = "WHERE log_lines.run_id = ?1 AND (?2 = '' OR owner_id = ?2)";
  if (!query.search.empty()) where += " AND text LIKE ?3 ESCAPE '\\'";
  const auto bind = [&](SQLite::Statement& statement) {
    statement.bind(1, query.scope_id);
    statement.bind(2, query.owner_id);
    if (!query.search.empty()) statement.bind(3, anywhere(query.search));
  };
  LogResult result;
  SQLite::Statement count(connection, "SELECT count(*) FROM log_lines " + where);
  bind(count);
  count.executeStep();
  result.total = count.getColumn(0).getInt64();

  where += " AND log_lines.position > ?4 AND (?5 = 0 OR log_lines.position < ?5)";
  const bool from_end = query.tail || query.before_position > 0;
  SQLite::Statement rows(connection,
                         kLogSelect + where + " ORDER BY log_lines.position" + (from_end ? " DESC" : "") + " LIMIT ?6");
  bind(rows);
  rows.bind(4, query.after_position);
  rows.bind(5, query.before_position);
  rows.bind(6, query.limit);
  while (rows.executeStep()) result.lines.push_back(read_line(rows));
  if (from_end) std::reverse(result.lines.begin(), result.lines.end());
  return result;
}

std::vector<LogLine> log_lines_after(Connection& connection, const std::string& scope_id, int64_t after, int64_t upto,
                                     int64_t limit) {
  return query_all(connection,
                   std::string(kLogSelect) +
                       "WHERE log_lines.run_id = ? AND log_lines.position > ? AND "
                       "log_lines.position <= ? ORDER BY log_lines.position LIMIT ?",
                   read_line, scope_id, after, upto, limit);
}

std::vector<RunEvent> events_after(Connection& connection, const std::string& scope_id, int64_t after, int64_t upto,
                                   int64_t limit, const std::string& type) {
  return query_all(connection,
                   std::string(kEventSelect) +
                       "WHERE run_events.run_id = ? AND run_events.position > ? AND "
                       "run_events.position <= ? AND (? = '' OR run_events.type = ?) "
                       "ORDER BY run_events.position LIMIT ?",
                   read_event, scope_id, after, upto, type, type, limit);
}

void put_metric(Connection& connection, const std::string& task_id, const std::string& name, int64_t step, double value,
                int64_t time_ms) {
  execute(connection,
          "INSERT OR REPLACE INTO metric_points (task_id, name, step, value, time_ms) VALUES (?, ?, ?, ?, ?)", task_id,
          name, step, value, time_ms);
}

std::vector<std::string> metric_names(Connection& connection, const std::string& task_id) {
  return query_all(
      connection, "SELECT DISTINCT name FROM metric_points WHERE task_id = ? ORDER BY name",
      [](SQLite::Statement& row) { return row.getColumn(0).getString(); }, task_id);
}

std::vector<MetricPoint> metric_points(Connection& connection, const std::string& task_id, const std::string& name) {
  return query_all(connection,
                   "SELECT step, value, time_ms FROM metric_points WHERE task_id = ? AND name = ? ORDER BY step",
                   read_point, task_id, name);
}

std::optional<MetricPoint> last_metric_point(Connection& connection, const std::string& task_id,
                                             const std::string& name) {
  return query_one(connection,
                   "SELECT step, value, time_ms FROM metric_points WHERE task_id = ? AND name = ? ORDER BY step DESC "
                   "LIMIT 1",
                   read_point, task_id, name);
}

std::vector<Change> changes_after(Connection& connection, const std::string& run_id, int64_t after, int64_t upto,
                                  int64_t limit) {
  const auto read = [](SQLite::Statement& statement) {
    RowReader row(statement);
    Change change;
    change.kind = row.text();
    change.id = row.text();
    change.run_id = row.text();
    change.position = row.integer();
    return change;
  };
  const std::string columns = "SELECT kind, id, run_id, position FROM changes WHERE position > ? AND position <= ? ";
  if (run_id.empty()) return query_all(connection, columns + "ORDER BY position LIMIT ?", read, after, upto, limit);
  return query_all(connection, columns + "AND run_id = ? ORDER BY position LIMIT ?", read, after, upto, run_id, limit);
}

}  // namespace slipway::store
