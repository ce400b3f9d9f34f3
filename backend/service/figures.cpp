#include "backend/service/figures.h"

namespace slipway::service {
namespace {

std::map<std::string, int64_t> count_by_state(store::Connection& connection, const std::string& table) {
  std::map<std::string, int64_t> counts;
  store::query_all(connection, "SELECT state, count(*) FROM " + table + " GROUP BY state", [&](SQLite::Statement& row) {
    counts[row.getColumn(0).getString()] = row.getColumn(1).getInt64();
    return 0;
  });
  return counts;
}

int64_t count_all(store::Connection& connection, const std::string& table) {
  return store::query_one(connection, "SELECT count(*) FROM " + table,
                          [](SQLite::Statement& row) { return row.getColumn(0).getInt64(); })
      .value_or(0);
}

void add(std::string& text, const std::string& name, const std::string& help,
         const std::map<std::string, int64_t>& counts) {
  text += "# HELP " + name + " " + help + "\n# TYPE " + name + " gauge\n";
  for (const auto& [state, count] : counts) text += name + "{state=\"" + state + "\"} " + std::to_string(count) + "\n";
}

void add(std::string& text, const std::string& name, const std::string& help, int64_t count) {
  text += "# HELP " + name + " " + help + "\n# TYPE " + name + " gauge\n" + name + " " + std::to_string(count) + "\n";
}

}  // namespace

absl::StatusOr<Figures> read_figures(store::Database& database) {
  return database.read([](store::Connection& connection) -> absl::StatusOr<Figures> {
    return Figures{count_by_state(connection, "runs"), count_by_state(connection, "deployments"),
                   count_by_state(connection, "nodes"), count_all(connection, "models"),
                   count_all(connection, "datasets")};
  });
}

std::string figures_text(const Figures& figures) {
  std::string text;
  add(text, "slipway_runs", "Runs by state.", figures.runs);
  add(text, "slipway_deployments", "Deployments by state.", figures.deployments);
  add(text, "slipway_nodes", "Nodes by state.", figures.nodes);
  add(text, "slipway_models", "Registered models.", figures.models);
  add(text, "slipway_datasets", "Registered datasets.", figures.datasets);
  return text;
}

}  // namespace slipway::service
