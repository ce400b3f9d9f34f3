#include "backend/store/datasets.h"

#include <nlohmann/json.hpp>

#include "backend/store/models.h"
#include "backend/store/row.h"

namespace slipway::store {
namespace {

constexpr char kDatasetColumns[] = "datasets.id, datasets.name, datasets.description, datasets.created_at_ms";
constexpr char kVersionColumns[] =
    "v.id, v.dataset_id, d.name, v.version, v.artifact_id, v.path, v.format, v.roles, v.row_count, v.run_id, "
    "v.created_at_ms";
constexpr char kVersionTables[] = "dataset_versions v JOIN datasets d ON d.id = v.dataset_id";

Dataset read_dataset(SQLite::Statement& statement) {
  RowReader row(statement);
  Dataset dataset;
  dataset.id = row.text();
  dataset.name = row.text();
  dataset.description = row.text();
  dataset.created_at_ms = row.integer();
  return dataset;
}

DatasetVersion read_version(SQLite::Statement& statement) {
  RowReader row(statement);
  DatasetVersion version;
  version.id = row.text();
  version.dataset_id = row.text();
  version.dataset_name = row.text();
  version.version = row.integer();
  version.artifact_id = row.text();
  version.path = row.text();
  version.format = row.text();
  const auto roles = nlohmann::json::parse(row.text(), nullptr, false);
  if (roles.is_object()) {
    for (const auto& [role, column] : roles.items()) {
      if (column.is_string()) version.roles[role] = column.get<std::string>();
    }
  }
  version.row_count = row.integer();
  version.run_id = row.text();
  version.created_at_ms = row.integer();
  return version;
}

std::string select_versions(const std::string& rest) {
  return std::string("SELECT ") + kVersionColumns + " FROM " + kVersionTables + " WHERE " + rest;
}

}  // namespace

void insert_dataset(Connection& connection, const Dataset& dataset) {
  execute(connection, "INSERT INTO datasets (id, name, description, created_at_ms) VALUES (?, ?, ?, ?)", dataset.id,
          dataset.name, dataset.description, dataset.created_at_ms);
}

void delete_dataset(Connection& connection, const std::string& id) {
  execute(connection, "DELETE FROM datasets WHERE id = ?", id);
}

std::optional<Dataset> find_dataset(Connection& connection, const std::string& id_or_name) {
  return query_one(connection,
                   std::string("SELECT ") + kDatasetColumns + " FROM datasets WHERE id = ?1 OR name = ?1 LIMIT 1",
                   read_dataset, id_or_name);
}

absl::StatusOr<Page<Dataset>> list_datasets(Connection& connection, const PageRequest& request) {
  ListQuery query;
  query.columns = kDatasetColumns;
  query.from = "datasets";
  query.key = "datasets.name";
  query.searched = {"datasets.name", "datasets.id"};
  return list_page(connection, query, request, read_dataset);
}

void insert_dataset_version(Connection& connection, const DatasetVersion& version) {
  SQLite::Statement statement(
      connection,
      "INSERT INTO dataset_versions (id, dataset_id, version, artifact_id, path, format, roles, row_count, run_id, "
      "created_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  RowWriter(statement) << version.id << version.dataset_id << version.version << version.artifact_id << version.path
                       << version.format << nlohmann::json(version.roles).dump() << version.row_count << version.run_id
                       << version.created_at_ms;
  statement.exec();
}

std::optional<DatasetVersion> find_dataset_version(Connection& connection, const std::string& reference) {
  const auto by_id = query_one(connection, select_versions("v.id = ?"), read_version, reference);
  if (by_id) return by_id;
  const Reference named = parse_reference(reference);
  if (named.version == 0) {
    return query_one(connection, select_versions("d.name = ? ORDER BY v.version DESC LIMIT 1"), read_version,
                     named.name);
  }
  return query_one(connection, select_versions("d.name = ? AND v.version = ?"), read_version, named.name,
                   named.version);
}

std::optional<DatasetVersion> latest_dataset_version(Connection& connection, const std::string& dataset_id) {
  return query_one(connection, select_versions("v.dataset_id = ? ORDER BY v.version DESC LIMIT 1"), read_version,
                   dataset_id);
}

int64_t count_dataset_versions(Connection& connection, const std::string& dataset_id) {
  return query_one(
             connection, "SELECT count(*) FROM dataset_versions WHERE dataset_id = ?",
             [](SQLite::Statement& row) { return row.getColumn(0).getInt64(); }, dataset_id)
      .value_or(0);
}

std::vector<DatasetVersion> all_dataset_versions(Connection& connection, const std::string& dataset_id) {
  return query_all(connection, select_versions("v.dataset_id = ? ORDER BY v.version"), read_version, dataset_id);
}

absl::StatusOr<Page<DatasetVersion>> list_dataset_versions(Connection& connection, const std::string& dataset_id,
                                                           const PageRequest& request) {
  ListQuery query;
  query.columns = kVersionColumns;
  query.from = kVersionTables;
  query.where = "v.dataset_id = ?";
  query.values = {dataset_id};
  query.key = "printf('%012d', v.version)";
  query.descending = true;
  query.searched = {"d.name || '@' || v.version", "v.id"};
  return list_page(connection, query, request, read_version);
}

std::string dataset_in_use(Connection& connection, const std::string& dataset_id) {
  const auto run = query_one(
      connection,
      "SELECT r.name FROM run_inputs i JOIN runs r ON r.id = i.run_id JOIN dataset_versions v ON v.id = i.version_id "
      "WHERE v.dataset_id = ? AND r.finished_at_ms IS NULL LIMIT 1",
      [](SQLite::Statement& row) { return row.getColumn(0).getString(); }, dataset_id);
  return run ? "run '" + *run + "' uses it" : "";
}

bool artifact_in_use(Connection& connection, const std::string& artifact_id) {
  return query_one(
             connection,
             "SELECT 1 WHERE EXISTS (SELECT 1 FROM model_versions WHERE artifact_id = ?1) "
             "OR EXISTS (SELECT 1 FROM dataset_versions WHERE artifact_id = ?1) "
             "OR EXISTS (SELECT 1 FROM tasks WHERE instr(artifacts, ?1) > 0)",
             [](SQLite::Statement&) { return true; }, artifact_id)
      .value_or(false);
}

}  // namespace slipway::store
