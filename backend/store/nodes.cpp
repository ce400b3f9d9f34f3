#include "backend/store/nodes.h"

#include <algorithm>

#include "backend/store/row.h"

namespace slipway::store {
namespace {

constexpr char kNodeColumns[] = "id, name, state, facts, joined_at_ms, last_seen_at_ms";
constexpr char kSampleColumns[] = "node_id, time_ms, position, sample";

Node read_node(SQLite::Statement& statement) {
  RowReader row(statement);
  Node node;
  node.id = row.text();
  node.name = row.text();
  node.online = row.text() == "online";
  node.facts = row.text();
  node.joined_at_ms = row.integer();
  node.last_seen_at_ms = row.integer();
  return node;
}

NodeSample read_sample(SQLite::Statement& statement) {
  RowReader row(statement);
  NodeSample sample;
  sample.node_id = row.text();
  sample.time_ms = row.integer();
  sample.position = row.integer();
  sample.sample = row.text();
  return sample;
}

std::string select_samples(const std::string& rest) {
  return std::string("SELECT ") + kSampleColumns + " FROM node_samples " + rest;
}

}  // namespace

void put_node(Connection& connection, const Node& node) {
  execute(connection,
          "INSERT INTO nodes (id, name, state, facts, joined_at_ms, last_seen_at_ms) VALUES (?, ?, ?, ?, ?, ?) "
          "ON CONFLICT (id) DO UPDATE SET name = excluded.name, state = excluded.state, facts = excluded.facts, "
          "last_seen_at_ms = excluded.last_seen_at_ms",
          node.id, node.name, node.online ? "online" : "offline", node.facts, node.joined_at_ms, node.last_seen_at_ms);
}

void delete_node(Connection& connection, const std::string& id) {
  execute(connection, "DELETE FROM nodes WHERE id = ?", id);
}

std::optional<Node> find_node(Connection& connection, const std::string& id) {
  return query_one(connection, std::string("SELECT ") + kNodeColumns + " FROM nodes WHERE id = ?", read_node, id);
}

std::vector<Node> all_nodes(Connection& connection) {
  return query_all(connection, std::string("SELECT ") + kNodeColumns + " FROM nodes ORDER BY joined_at_ms, id",
                   read_node);
}

absl::StatusOr<Page<Node>> list_nodes(Connection& connection, const PageRequest& request) {
  ListQuery query;
  query.columns = kNodeColumns;
  query.from = "nodes";
  query.key = "name || ' ' || id";
  query.searched = {"name", "id"};
  query.filters = {{"state", "state"}};
  return list_page(connection, query, request, read_node);
}

void set_node_token(Connection& connection, const std::string& id, const std::string& token_sha256) {
  execute(connection, "UPDATE nodes SET token_sha256 = ? WHERE id = ?", token_sha256, id);
}

std::optional<std::string> find_node_by_token(Connection& connection, const std::string& token_sha256) {
  if (token_sha256.empty()) return std::nullopt;
  return query_one(
      connection, "SELECT id FROM nodes WHERE token_sha256 = ?",
      [](SQLite::Statement& row) { return row.getColumn(0).getString(); }, token_sha256);
}

void insert_join_token(Connection& connection, const std::string& token_sha256, int64_t expires_at_ms) {
  execute(connection, "INSERT OR REPLACE INTO join_tokens (token_sha256, expires_at_ms) VALUES (?, ?)", token_sha256,
          expires_at_ms);
}

bool take_join_token(Connection& connection, const std::string& token_sha256, int64_t now_ms) {
  execute(connection, "DELETE FROM join_tokens WHERE expires_at_ms <= ?", now_ms);
  execute(connection, "DELETE FROM join_tokens WHERE token_sha256 = ?", token_sha256);
  return connection.getChanges() > 0;
}

void insert_sample(Transaction& transaction, const std::string& node_id, int64_t time_ms, const std::string& sample) {
  execute(transaction.connection(),
          "INSERT OR REPLACE INTO node_samples (node_id, time_ms, position, sample) VALUES (?, ?, ?, ?)", node_id,
          time_ms, transaction.next_position(), sample);
}

std::optional<NodeSample> latest_sample(Connection& connection, const std::string& node_id) {
  return query_one(connection, select_samples("WHERE node_id = ? ORDER BY time_ms DESC LIMIT 1"), read_sample, node_id);
}

std::vector<NodeSample> list_samples(Connection& connection, const std::string& node_id, int64_t since_ms,
                                     int64_t max_points) {
  const int64_t count = query_one(
                            connection, "SELECT count(*) FROM node_samples WHERE node_id = ? AND time_ms >= ?",
                            [](SQLite::Statement& row) { return row.getColumn(0).getInt64(); }, node_id, since_ms)
                            .value_or(0);
  const int64_t stride = std::max<int64_t>(1, (count + max_points - 1) / std::max<int64_t>(max_points, 1));
  SQLite::Statement rows(connection, select_samples("WHERE node_id = ? AND time_ms >= ? ORDER BY time_ms"));
  SQLite::bind(rows, node_id, since_ms);
  std::vector<NodeSample> samples;
  for (int64_t index = 0; rows.executeStep(); ++index) {
    // Counted from the end, so that the newest is always there.
    if ((count - 1 - index) % stride == 0) samples.push_back(read_sample(rows));
  }
  return samples;
}

std::vector<NodeSample> samples_after(Connection& connection, int64_t after, int64_t upto, int64_t limit) {
  return query_all(connection, select_samples("WHERE position > ? AND position <= ? ORDER BY position LIMIT ?"),
                   read_sample, after, upto, limit);
}

void prune_samples(Connection& connection, int64_t before_ms, int64_t thin_before_ms, int64_t thin_to_ms) {
  execute(connection, "DELETE FROM node_samples WHERE time_ms < ?", before_ms);
  execute(
      connection,
      "DELETE FROM node_samples WHERE time_ms < ?1 AND time_ms NOT IN (SELECT min(time_ms) FROM node_samples AS kept "
      "WHERE kept.time_ms < ?1 GROUP BY kept.node_id, kept.time_ms / ?2)",
      thin_before_ms, thin_to_ms);
}

}  // namespace slipway::store
