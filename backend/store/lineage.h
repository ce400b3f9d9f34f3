// What came from what: edges among model versions, dataset versions, runs and deployments, read from their own tables.
// Used by service::Models.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "backend/store/database.h"

namespace slipway::store {

struct LineageNode {
  std::string id;
  std::string kind;  // model, adapter, dataset, run, deployment
  std::string label;
};

struct LineageEdge {
  std::string from_id;
  std::string to_id;
  std::string relation;  // input, output, base, serves
  bool operator==(const LineageEdge&) const = default;
};

std::optional<LineageNode> find_lineage_node(Connection& connection, const std::string& id);
// Edges that end at `id`, and those that begin there.
std::vector<LineageEdge> lineage_before(Connection& connection, const std::string& id);
std::vector<LineageEdge> lineage_after(Connection& connection, const std::string& id);

}  // namespace slipway::store
