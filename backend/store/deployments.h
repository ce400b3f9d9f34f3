// Rows of deployments, and their queries.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "backend/domain/deployment.h"
#include "backend/domain/serving_settings.h"
#include "backend/store/database.h"
#include "backend/store/paging.h"

namespace slipway::store {

struct Deployment {
  std::string id;
  std::string name;
  domain::DeploymentState state = domain::DeploymentState::kQueued;
  domain::Wanted wanted = domain::Wanted::kRunning;
  std::string model_version_id;
  std::string model_label;
  std::string base_version_id;
  std::string base_label;
  domain::ServingSettings settings;
  std::vector<std::string> served_names;  // the tuned one first
  std::string run_id;                     // that made it; empty by hand
  std::string url;                        // of the ready replica; empty otherwise
  int losses = 0;
  int64_t created_at_ms = 0;
  std::optional<int64_t> ready_at_ms;
  domain::Failure error;
  std::string waiting_reason;
};

// An adapter that a deployment serves beside what it was made for.
struct DeploymentAdapter {
  std::string deployment_id;
  std::string name;
  std::vector<std::string> served_names;  // of its tasks in turn; the first is `name`
  std::string model_version_id;
  std::string model_label;
  int64_t created_at_ms = 0;
};

// As kept in a row, and in a replica's order: an object of its fields.
nlohmann::json as_json(const domain::ServingSettings& settings);
// What is missing has its default.
domain::ServingSettings serving_settings_of(const nlohmann::json& fields);

void insert_deployment(Connection& connection, const Deployment& deployment);
void update_deployment(Connection& connection, const Deployment& deployment);
void delete_deployment(Connection& connection, const std::string& id);
std::optional<Deployment> find_deployment(Connection& connection, const std::string& id);
// By id or by name.
std::optional<Deployment> find_deployment_by_reference(Connection& connection, const std::string& reference);
std::vector<Deployment> all_deployments(Connection& connection);
// That serve this model version, or an adapter on it.
std::vector<Deployment> deployments_of_version(Connection& connection, const std::string& model_version_id);
// By name. Filter: words in name or id; state:ready.
absl::StatusOr<Page<Deployment>> list_deployments(Connection& connection, const PageRequest& request);

void insert_deployment_adapter(Connection& connection, const DeploymentAdapter& adapter);
void delete_deployment_adapter(Connection& connection, const std::string& deployment_id, const std::string& name);
// By name; of all deployments when the id is empty.
std::vector<DeploymentAdapter> deployment_adapters(Connection& connection, const std::string& deployment_id = "");

}  // namespace slipway::store
