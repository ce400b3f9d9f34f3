#include "backend/store/lineage.h"

namespace slipway::store {
namespace {

LineageEdge read_edge(SQLite::Statement& row) {
  return {row.getColumn(0).getString(), row.getColumn(1).getString(), row.getColumn(2).getString()};
}

// All edges there are, as a view; each branch has an index on both ends.
constexpr char kEdges[] =
    "SELECT version_id AS from_id, run_id AS to_id, 'input' AS relation FROM run_inputs "
    "UNION ALL SELECT run_id, id, 'output' FROM model_versions WHERE run_id <> '' "
    "UNION ALL SELECT run_id, id, 'output' FROM dataset_versions WHERE run_id <> '' "
    "UNION ALL SELECT base_version_id, id, 'base' FROM model_versions WHERE base_version_id <> '' "
    "UNION ALL SELECT model_version_id, id, 'serves' FROM deployments";

std::vector<LineageEdge> edges(Connection& connection, const char* end, const std::string& id) {
  return query_all(connection,
                   std::string("SELECT from_id, to_id, relation FROM (") + kEdges + ") WHERE " + end + " = ? LIMIT 500",
                   read_edge, id);
}

}  // namespace

std::optional<LineageNode> find_lineage_node(Connection& connection, const std::string& id) {
  return query_one(
      connection,
      "SELECT CASE v.kind WHEN 'adapter' THEN 'adapter' ELSE 'model' END, m.name || '@' || v.version "
      "FROM model_versions v JOIN models m ON m.id = v.model_id WHERE v.id = ?1 "
      "UNION ALL SELECT 'dataset', d.name || '@' || v.version FROM dataset_versions v "
      "JOIN datasets d ON d.id = v.dataset_id WHERE v.id = ?1 "
      "UNION ALL SELECT 'run', name FROM runs WHERE id = ?1 "
      "UNION ALL SELECT 'deployment', name FROM deployments WHERE id = ?1",
      [&](SQLite::Statement& row) {
        return LineageNode{id, row.getColumn(0).getString(), row.getColumn(1).getString()};
      },
      id);
}

std::vector<LineageEdge> lineage_before(Connection& connection, const std::string& id) {
  return edges(connection, "to_id", id);
}

std::vector<LineageEdge> lineage_after(Connection& connection, const std::string& id) {
  return edges(connection, "from_id", id);
}

}  // namespace slipway::store
