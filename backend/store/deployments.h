// Rows of deployments, and their queries.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "backend/domain/deployment.h"
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
  std::string dtype;
  std::vector<std::string> served_names;  // the tuned one first
  std::string run_id;                     // that made it; empty by hand
  std::string url;                        // of the ready replica; empty otherwise
  int losses = 0;
  int64_t created_at_ms = 0;
  std::optional<int64_t> ready_at_ms;
  domain::Failure error;
  std::string waiting_reason;
};

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

}  // namespace slipway::store
