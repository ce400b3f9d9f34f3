#include "backend/store/replica_readings.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "backend/store/row.h"

namespace slipway::store {
namespace {

using nlohmann::json;

std::string to_json(const domain::ReplicaReading& reading) {
  json histograms = json::object();
  for (const auto& [name, histogram] : reading.histograms) histograms[name] = {histogram.bounds, histogram.counts};
  return json{{"memory", reading.memory_bytes}, {"values", reading.values}, {"histograms", histograms}}.dump(
      -1, ' ', false, json::error_handler_t::replace);
}

StoredReading read_reading(SQLite::Statement& statement) {
  RowReader row(statement);
  StoredReading stored;
  stored.deployment_id = row.text();
  stored.reading.time_ms = row.integer();
  stored.position = row.integer();
  stored.reading.attempt_id = row.text();
  const json content = json::parse(row.text());
  stored.reading.memory_bytes = content.at("memory");
  for (const auto& [name, value] : content.at("values").items()) {
    if (value.is_number()) stored.reading.values[name] = value;  // NaN was written as null
  }
  for (const auto& [name, value] : content.at("histograms").items()) {
    stored.reading.histograms[name] = {value.at(0).get<std::vector<double>>(), value.at(1).get<std::vector<int64_t>>()};
  }
  return stored;
}

std::string select(const std::string& rest) {
  return "SELECT deployment_id, time_ms, position, attempt_id, reading FROM replica_readings " + rest;
}

}  // namespace

void insert_reading(Transaction& transaction, const std::string& deployment_id, const domain::ReplicaReading& reading) {
  execute(transaction.connection(),
          "INSERT OR REPLACE INTO replica_readings (deployment_id, time_ms, position, attempt_id, reading) "
          "VALUES (?, ?, ?, ?, ?)",
          deployment_id, reading.time_ms, transaction.next_position(), reading.attempt_id, to_json(reading));
}

std::optional<StoredReading> latest_reading(Connection& connection, const std::string& deployment_id) {
  return reading_before(connection, deployment_id, INT64_MAX);
}

std::optional<StoredReading> reading_before(Connection& connection, const std::string& deployment_id, int64_t time_ms) {
  return query_one(connection, select("WHERE deployment_id = ? AND time_ms < ? ORDER BY time_ms DESC LIMIT 1"),
                   read_reading, deployment_id, time_ms);
}

std::vector<StoredReading> list_readings(Connection& connection, const std::string& deployment_id, int64_t since_ms,
                                         int64_t max_points) {
  const int64_t count =
      query_one(
          connection, "SELECT count(*) FROM replica_readings WHERE deployment_id = ? AND time_ms >= ?",
          [](SQLite::Statement& row) { return row.getColumn(0).getInt64(); }, deployment_id, since_ms)
          .value_or(0);
  const int64_t stride = std::max<int64_t>(1, (count + max_points - 1) / std::max<int64_t>(max_points, 1));
  SQLite::Statement rows(connection, select("WHERE deployment_id = ? AND time_ms >= ? ORDER BY time_ms"));
  SQLite::bind(rows, deployment_id, since_ms);
  std::vector<StoredReading> readings;
  for (int64_t index = 0; rows.executeStep(); ++index) {
    // Counted from the end, so that the newest is always there.
    if ((count - 1 - index) % stride == 0) readings.push_back(read_reading(rows));
  }
  return readings;
}

std::vector<StoredReading> readings_after(Connection& connection, const std::string& deployment_id, int64_t after,
                                          int64_t upto, int64_t limit) {
  return query_all(connection,
                   select("WHERE deployment_id = ? AND position > ? AND position <= ? ORDER BY position LIMIT ?"),
                   read_reading, deployment_id, after, upto, limit);
}

void thin_readings(Connection& connection, int64_t before_ms, int64_t stride_ms) {
  execute(connection,
          "DELETE FROM replica_readings WHERE time_ms < ?1 AND (deployment_id, time_ms) NOT IN (SELECT deployment_id, "
          "min(time_ms) FROM replica_readings WHERE time_ms < ?1 GROUP BY deployment_id, attempt_id, time_ms / ?2)",
          before_ms, stride_ms);
}

}  // namespace slipway::store
