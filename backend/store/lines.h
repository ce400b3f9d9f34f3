// What engines say: log lines, events and metric points, and their queries. Everything has its position in the feed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "backend/store/database.h"

namespace slipway::store {

struct LogLine {
  int64_t position = 0;
  int64_t number = 0;  // from 0, per task or deployment and stream
  std::string stream;  // stdout, stderr
  int64_t time_ms = 0;
  std::string text;
  std::string task_name;  // filled in by queries; empty for a deployment
  int attempt_number = 0;
  int rank = 0;  // of a gang
};

struct RunEvent {
  int64_t position = 0;
  int64_t time_ms = 0;
  int64_t seq = 0;
  std::string type;
  std::string json;
  std::string message;
  std::string task_name;
  int attempt_number = 0;
};

struct MetricPoint {
  int64_t step = 0;
  double value = 0;
  int64_t time_ms = 0;
};

// scope_id: the run, or the deployment. owner_id: the task, or the deployment.
struct LineOwner {
  std::string scope_id;
  std::string owner_id;
  std::string attempt_id;
};

void insert_log_lines(Transaction& transaction, const LineOwner& owner, const std::string& stream, int64_t time_ms,
                      const std::vector<std::string>& lines);
void insert_event(Transaction& transaction, const LineOwner& owner, const RunEvent& event);

struct LogQuery {
  std::string scope_id = {};
  std::string owner_id = {};  // empty: all tasks
  int64_t after_position = 0;
  int64_t before_position = 0;  // 0: none
  bool tail = false;            // the last ones, still in rising order
  int64_t limit = 500;
  std::string search = {};  // any case
};
struct LogResult {
  std::vector<LogLine> lines;
  int64_t total = 0;  // that match owner and search
};
LogResult list_log_lines(Connection& connection, const LogQuery& query);

// Positions in (after, upto], rising.
std::vector<LogLine> log_lines_after(Connection& connection, const std::string& scope_id, int64_t after, int64_t upto,
                                     int64_t limit);
// type: of the events wanted; empty: all.
std::vector<RunEvent> events_after(Connection& connection, const std::string& scope_id, int64_t after, int64_t upto,
                                   int64_t limit, const std::string& type = "");

// A step given again replaces its point.
void put_metric(Connection& connection, const std::string& task_id, const std::string& name, int64_t step, double value,
                int64_t time_ms);
std::vector<std::string> metric_names(Connection& connection, const std::string& task_id);
// By step.
std::vector<MetricPoint> metric_points(Connection& connection, const std::string& task_id, const std::string& name);
// That of the highest step.
std::optional<MetricPoint> last_metric_point(Connection& connection, const std::string& task_id,
                                             const std::string& name);

struct Change {
  std::string kind;
  std::string id;
  std::string run_id;
  int64_t position = 0;
};
// Changes at positions in (after, upto], rising; of one run's page when run_id is given.
std::vector<Change> changes_after(Connection& connection, const std::string& run_id, int64_t after, int64_t upto,
                                  int64_t limit);

}  // namespace slipway::store
