#include "backend/store/models.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include "backend/store/row.h"

namespace slipway::store {
namespace {

constexpr char kModelColumns[] = "models.id, models.name, models.description, models.created_at_ms";
constexpr char kVersionColumns[] =
    "v.id, v.model_id, m.name, v.version, v.kind, v.artifact_id, v.path, v.size_bytes, v.family, v.parameter_count, "
    "v.context_length, v.format, v.has_chat_template, v.base_version_id, v.run_id, v.metrics, v.description, "
    "v.created_at_ms, v.reward, v.tasks";
constexpr char kVersionTables[] = "model_versions v JOIN models m ON m.id = v.model_id";

Model read_model(SQLite::Statement& statement) {
  RowReader row(statement);
  Model model;
  model.id = row.text();
  model.name = row.text();
  model.description = row.text();
  model.created_at_ms = row.integer();
  return model;
}

ModelVersion read_version(SQLite::Statement& statement) {
  RowReader row(statement);
  ModelVersion version;
  version.id = row.text();
  version.model_id = row.text();
  version.model_name = row.text();
  version.version = row.integer();
  version.adapter = row.text() == "adapter";
  version.artifact_id = row.text();
  version.path = row.text();
  version.size_bytes = row.integer();
  version.family = row.text();
  version.parameter_count = row.integer();
  version.context_length = row.integer();
  version.format = row.text();
  version.has_chat_template = row.boolean();
  version.base_version_id = row.text();
  version.run_id = row.text();
  const auto metrics = nlohmann::json::parse(row.text(), nullptr, false);
  if (metrics.is_object()) {
    for (const auto& [name, value] : metrics.items()) {
      if (value.is_number()) version.metrics[name] = value.get<double>();
    }
  }
  version.description = row.text();
  version.created_at_ms = row.integer();
  version.reward = row.boolean();
  version.tasks = row.integer();
  return version;
}

std::string select_versions(const std::string& rest) {
  return std::string("SELECT ") + kVersionColumns + " FROM " + kVersionTables + " WHERE " + rest;
}

}  // namespace

Reference parse_reference(const std::string& text) {
  const size_t at = text.rfind('@');
  Reference reference{text, 0};
  if (at == std::string::npos) return reference;
  const char* end = text.data() + text.size();
  int64_t version = 0;
  const auto [stopped, error] = std::from_chars(text.data() + at + 1, end, version);
  if (error == std::errc() && stopped == end && version > 0) reference = {text.substr(0, at), version};
  return reference;
}

void insert_model(Connection& connection, const Model& model) {
  execute(connection, "INSERT INTO models (id, name, description, created_at_ms) VALUES (?, ?, ?, ?)", model.id,
          model.name, model.description, model.created_at_ms);
}

void delete_model(Connection& connection, const std::string& id) {
  execute(connection, "DELETE FROM models WHERE id = ?", id);
}

std::optional<Model> find_model(Connection& connection, const std::string& id_or_name) {
  return query_one(connection,
                   std::string("SELECT ") + kModelColumns + " FROM models WHERE id = ?1 OR name = ?1 LIMIT 1",
                   read_model, id_or_name);
}

absl::StatusOr<Page<Model>> list_models(Connection& connection, const PageRequest& request) {
  ListQuery query;
  query.columns = kModelColumns;
  query.from = "models";
  query.key = "models.name";
  query.searched = {"models.name", "models.id"};
  query.filters["kind"] =
      "SELECT v.kind FROM model_versions v WHERE v.model_id = models.id ORDER BY v.version DESC LIMIT 1";
  return list_page(connection, query, request, read_model);
}

void insert_model_version(Connection& connection, const ModelVersion& version) {
  SQLite::Statement statement(
      connection,
      "INSERT INTO model_versions (id, model_id, version, kind, artifact_id, path, size_bytes, family, "
      "parameter_count, "
      "context_length, format, has_chat_template, base_version_id, run_id, metrics, description, created_at_ms, "
      "reward, tasks) "
      "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  RowWriter(statement) << version.id << version.model_id << version.version << (version.adapter ? "adapter" : "base")
                       << version.artifact_id << version.path << version.size_bytes << version.family
                       << version.parameter_count << version.context_length << version.format
                       << version.has_chat_template << version.base_version_id << version.run_id
                       << nlohmann::json(version.metrics).dump() << version.description << version.created_at_ms
                       << version.reward << version.tasks;
  statement.exec();
}

std::optional<ModelVersion> find_model_version(Connection& connection, const std::string& reference) {
  const auto by_id = query_one(connection, select_versions("v.id = ?"), read_version, reference);
  if (by_id) return by_id;
  const Reference named = parse_reference(reference);
  if (named.version == 0) {
    return query_one(connection, select_versions("m.name = ? ORDER BY v.version DESC LIMIT 1"), read_version,
                     named.name);
  }
  return query_one(connection, select_versions("m.name = ? AND v.version = ?"), read_version, named.name,
                   named.version);
}

std::optional<ModelVersion> latest_model_version(Connection& connection, const std::string& model_id) {
  return query_one(connection, select_versions("v.model_id = ? ORDER BY v.version DESC LIMIT 1"), read_version,
                   model_id);
}

int64_t count_model_versions(Connection& connection, const std::string& model_id) {
  return query_one(
             connection, "SELECT count(*) FROM model_versions WHERE model_id = ?",
             [](SQLite::Statement& row) { return row.getColumn(0).getInt64(); }, model_id)
      .value_or(0);
}

std::vector<ModelVersion> all_model_versions(Connection& connection, const std::string& model_id) {
  return query_all(connection, select_versions("v.model_id = ? ORDER BY v.version"), read_version, model_id);
}

absl::StatusOr<Page<ModelVersion>> list_model_versions(Connection& connection, const std::string& model_id,
                                                       const PageRequest& request) {
  ListQuery query;
  query.columns = kVersionColumns;
  query.from = kVersionTables;
  query.where = "v.model_id = ?";
  query.values = {model_id};
  query.key = "printf('%012d', v.version)";
  query.descending = true;
  query.searched = {"m.name || '@' || v.version", "v.id", "v.description"};
  query.filters["kind"] = "v.kind";
  return list_page(connection, query, request, read_version);
}

std::string model_in_use(Connection& connection, const std::string& model_id) {
  const auto text = [](SQLite::Statement& row) { return row.getColumn(0).getString(); };
  const auto deployment = query_one(
      connection,
      "SELECT d.name FROM deployments d JOIN model_versions v ON v.id = d.model_version_id OR v.id = d.base_version_id "
      "WHERE v.model_id = ? LIMIT 1",
      text, model_id);
  if (deployment) return "deployment '" + *deployment + "' serves it";
  const auto adapter = query_one(
      connection,
      "SELECT m.name || '@' || a.version FROM model_versions a JOIN model_versions v ON v.id = a.base_version_id "
      "JOIN models m ON m.id = a.model_id WHERE v.model_id = ?1 AND a.model_id <> ?1 LIMIT 1",
      text, model_id);
  if (adapter) return "adapter '" + *adapter + "' needs it";
  const auto run = query_one(
      connection,
      "SELECT r.name FROM run_inputs i JOIN runs r ON r.id = i.run_id JOIN model_versions v ON v.id = i.version_id "
      "WHERE v.model_id = ? AND r.finished_at_ms IS NULL LIMIT 1",
      text, model_id);
  if (run) return "run '" + *run + "' uses it";
  return "";
}

}  // namespace slipway::store
