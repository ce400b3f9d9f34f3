#include "backend/store/deployments.h"

#include <nlohmann/json.hpp>

#include "backend/store/row.h"

namespace slipway::store {
namespace {

constexpr char kColumns[] =
    "id, name, state, wanted, model_version_id, model_label, base_version_id, base_label, settings, served_names, "
    "run_id, "
    "url, losses, created_at_ms, ready_at_ms, error_code, error_message, error_advice, waiting_reason";

Deployment read_deployment(SQLite::Statement& statement) {
  RowReader row(statement);
  Deployment deployment;
  deployment.id = row.text();
  deployment.name = row.text();
  deployment.state = domain::deployment_state_of(row.text()).value();
  deployment.wanted = row.text() == "running" ? domain::Wanted::kRunning : domain::Wanted::kStopped;
  deployment.model_version_id = row.text();
  deployment.model_label = row.text();
  deployment.base_version_id = row.text();
  deployment.base_label = row.text();
  deployment.settings = serving_settings_of(nlohmann::json::parse(row.text()));
  deployment.served_names = nlohmann::json::parse(row.text()).get<std::vector<std::string>>();
  deployment.run_id = row.text();
  deployment.url = row.text();
  deployment.losses = static_cast<int>(row.integer());
  deployment.created_at_ms = row.integer();
  deployment.ready_at_ms = row.maybe_integer();
  deployment.error = row.failure();
  deployment.waiting_reason = row.text();
  return deployment;
}

RowWriter& operator<<(RowWriter& writer, const Deployment& d) {
  return writer << d.id << d.name << name_of(d.state) << (d.wanted == domain::Wanted::kRunning ? "running" : "stopped")
                << d.model_version_id << d.model_label << d.base_version_id << d.base_label
                << as_json(d.settings).dump() << nlohmann::json(d.served_names).dump() << d.run_id << d.url << d.losses
                << d.created_at_ms << d.ready_at_ms << d.error << d.waiting_reason;
}

std::string select(const std::string& rest) { return std::string("SELECT ") + kColumns + " FROM deployments " + rest; }

void put(Connection& connection, const char* verb, const Deployment& deployment) {
  SQLite::Statement statement(connection, std::string(verb) + " INTO deployments (" + kColumns +
                                              ") VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)");
  RowWriter writer(statement);
  writer << deployment;
  statement.exec();
}

}  // namespace

nlohmann::json as_json(const domain::ServingSettings& settings) {
  return {{"dtype", settings.dtype},
          {"kv_cache_dtype", settings.kv_cache_dtype},
          {"max_model_len", settings.max_model_len},
          {"max_num_seqs", settings.max_num_seqs},
          {"queue", settings.queue},
          {"kv_cache_tokens", settings.kv_cache_tokens},
          {"threads", settings.threads},
          {"speculative_tokens", settings.speculative_tokens}};
}

domain::ServingSettings serving_settings_of(const nlohmann::json& fields) {
  domain::ServingSettings settings;
  settings.dtype = fields.value("dtype", settings.dtype);
  settings.kv_cache_dtype = fields.value("kv_cache_dtype", settings.kv_cache_dtype);
  settings.max_model_len = fields.value("max_model_len", settings.max_model_len);
  settings.max_num_seqs = fields.value("max_num_seqs", settings.max_num_seqs);
  settings.queue = fields.value("queue", settings.queue);
  settings.kv_cache_tokens = fields.value("kv_cache_tokens", settings.kv_cache_tokens);
  settings.threads = fields.value("threads", settings.threads);
  settings.speculative_tokens = fields.value("speculative_tokens", settings.speculative_tokens);
  return settings;
}

void insert_deployment(Connection& connection, const Deployment& deployment) { put(connection, "INSERT", deployment); }

void update_deployment(Connection& connection, const Deployment& deployment) {
  SQLite::Statement update(connection,
                           "UPDATE deployments SET state = ?, wanted = ?, model_version_id = ?, model_label = ?, "
                           "base_version_id = ?, base_label = ?, settings = ?, served_names = ?, run_id = ?, url = ?, "
                           "losses = ?, ready_at_ms = ?, error_code = ?, error_message = ?, error_advice = ?, "
                           "waiting_reason = ? WHERE id = ?");
  RowWriter(update) << name_of(deployment.state)
                    << (deployment.wanted == domain::Wanted::kRunning ? "running" : "stopped")
                    << deployment.model_version_id << deployment.model_label << deployment.base_version_id
                    << deployment.base_label << as_json(deployment.settings).dump()
                    << nlohmann::json(deployment.served_names).dump() << deployment.run_id << deployment.url
                    << deployment.losses << deployment.ready_at_ms << deployment.error << deployment.waiting_reason
                    << deployment.id;
  update.exec();
}

void delete_deployment(Connection& connection, const std::string& id) {
  execute(connection, "DELETE FROM deployments WHERE id = ?", id);
}

std::optional<Deployment> find_deployment(Connection& connection, const std::string& id) {
  return query_one(connection, select("WHERE id = ?"), read_deployment, id);
}

std::optional<Deployment> find_deployment_by_reference(Connection& connection, const std::string& reference) {
  return query_one(connection, select("WHERE id = ?1 OR name = ?1"), read_deployment, reference);
}

std::vector<Deployment> all_deployments(Connection& connection) {
  return query_all(connection, select("ORDER BY name"), read_deployment);
}

std::vector<Deployment> deployments_of_version(Connection& connection, const std::string& model_version_id) {
  return query_all(connection,
                   select("WHERE model_version_id = ?1 OR base_version_id = ?1 OR id IN (SELECT deployment_id FROM "
                          "deployment_adapters WHERE deployment_adapters.model_version_id = ?1) ORDER BY name"),
                   read_deployment, model_version_id);
}

absl::StatusOr<Page<Deployment>> list_deployments(Connection& connection, const PageRequest& request) {
  ListQuery query;
  query.columns = kColumns;
  query.from = "deployments";
  query.key = "name";
  query.searched = {"name", "id"};
  query.filters = {{"state", "state"}};
  return list_page(connection, query, request, read_deployment);
}

void insert_deployment_adapter(Connection& connection, const DeploymentAdapter& adapter) {
  execute(connection,
          "INSERT INTO deployment_adapters (deployment_id, name, served_names, model_version_id, model_label, "
          "created_at_ms) VALUES (?, ?, ?, ?, ?, ?)",
          adapter.deployment_id, adapter.name, nlohmann::json(adapter.served_names).dump(), adapter.model_version_id,
          adapter.model_label, adapter.created_at_ms);
}

void delete_deployment_adapter(Connection& connection, const std::string& deployment_id, const std::string& name) {
  execute(connection, "DELETE FROM deployment_adapters WHERE deployment_id = ? AND name = ?", deployment_id, name);
}

std::vector<DeploymentAdapter> deployment_adapters(Connection& connection, const std::string& deployment_id) {
  return query_all(
      connection,
      "SELECT deployment_id, name, served_names, model_version_id, model_label, created_at_ms FROM "
      "deployment_adapters WHERE ?1 = '' OR deployment_id = ?1 ORDER BY name",
      [](SQLite::Statement& statement) {
        RowReader row(statement);
        DeploymentAdapter adapter;
        adapter.deployment_id = row.text();
        adapter.name = row.text();
        adapter.served_names = nlohmann::json::parse(row.text()).get<std::vector<std::string>>();
        adapter.model_version_id = row.text();
        adapter.model_label = row.text();
        adapter.created_at_ms = row.integer();
        return adapter;
      },
      deployment_id);
}

}  // namespace slipway::store
