// Rows of nodes and their samples, and their queries.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "backend/store/database.h"
#include "backend/store/paging.h"

namespace slipway::store {

struct Node {
  std::string id;
  std::string name;
  bool online = false;
  std::string facts = "{}";  // JSON, as the agent reported them
  int64_t joined_at_ms = 0;
  int64_t last_seen_at_ms = 0;
};

struct NodeSample {
  std::string node_id;
  int64_t time_ms = 0;
  int64_t position = 0;
  std::string sample;  // JSON
};

// Inserts, or replaces all but joined_at.
void put_node(Connection& connection, const Node& node);
void delete_node(Connection& connection, const std::string& id);
std::optional<Node> find_node(Connection& connection, const std::string& id);
std::vector<Node> all_nodes(Connection& connection);
// By name. Filter: words in name or id; state:online.
absl::StatusOr<Page<Node>> list_nodes(Connection& connection, const PageRequest& request);

void set_node_token(Connection& connection, const std::string& id, const std::string& token_sha256);
std::optional<std::string> find_node_by_token(Connection& connection, const std::string& token_sha256);
void insert_join_token(Connection& connection, const std::string& token_sha256, int64_t expires_at_ms);
// Takes the token out; false when there is none that is still valid at `now_ms`.
bool take_join_token(Connection& connection, const std::string& token_sha256, int64_t now_ms);

// A second sample of the same time replaces the first.
void insert_sample(Transaction& transaction, const std::string& node_id, int64_t time_ms, const std::string& sample);
std::optional<NodeSample> latest_sample(Connection& connection, const std::string& node_id);
// Since `since_ms`, oldest first; every k-th when there are more than max_points, always with the last.
std::vector<NodeSample> list_samples(Connection& connection, const std::string& node_id, int64_t since_ms,
                                     int64_t max_points);
// Samples of all nodes with positions in (after, upto], in order.
std::vector<NodeSample> samples_after(Connection& connection, int64_t after, int64_t upto, int64_t limit);
// Forgets samples before `before_ms`, and between it and `thin_before_ms` keeps one of each `thin_to_ms`.
void prune_samples(Connection& connection, int64_t before_ms, int64_t thin_before_ms, int64_t thin_to_ms);

}  // namespace slipway::store
