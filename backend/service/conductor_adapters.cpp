// Adapters that deployments serve beside what they were made for. See conductor.h.
#include <algorithm>

#include "backend/base/status.h"
#include "backend/service/conductor.h"

namespace slipway::service {

using workflows::Json;

absl::Status Conductor::check_free_name(store::Connection& connection, const std::string& id, const std::string& name,
                                        const std::string& field) {
  const auto taken = [&](const std::string& by) {
    return base::error(absl::StatusCode::kAlreadyExists,
                       "the name " + name + " is served by deployment " + by + " already",
                       {"ALREADY_EXISTS", field, "choose another name"});
  };
  for (const store::Deployment& other : store::all_deployments(connection)) {
    if (other.id == id) continue;
    if (std::find(other.served_names.begin(), other.served_names.end(), name) != other.served_names.end()) {
      return taken(other.name);
    }
  }
  for (const store::DeploymentAdapter& adapter : store::deployment_adapters(connection)) {
    const std::vector<std::string>& names = adapter.served_names;
    if (std::find(names.begin(), names.end(), name) == names.end()) continue;
    const auto deployment = store::find_deployment(connection, adapter.deployment_id);
    return taken(deployment ? deployment->name : adapter.deployment_id);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<AdapterOrder>> Conductor::adapters_for(store::Connection& connection,
                                                                  const std::string& id) {
  std::vector<AdapterOrder> orders;
  for (const store::DeploymentAdapter& adapter : store::deployment_adapters(connection, id)) {
    const auto version = registry_.find_model_version(connection, adapter.model_version_id);
    if (!version.ok()) return version.status();
    for (size_t task = 0; task < adapter.served_names.size(); ++task) {
      orders.push_back({adapter.served_names[task], version->artifact_id, version->path, static_cast<int64_t>(task)});
    }
  }
  return orders;
}

absl::Status Conductor::take_adapters(store::Transaction& transaction, const store::Attempt& attempt,
                                      const AdaptersReport& report) {
  if (attempt.deployment_id.empty() || is_final(attempt.state)) return absl::OkStatus();
  Json failures = Json::object();
  for (const AdaptersReport::Failure& failure : report.failures) {
    failures[failure.name] = {failure.code, failure.message, failure.advice};
  }
  store::Attempt changed = attempt;
  changed.adapters = Json{{"loaded", report.loaded}, {"failures", failures}}.dump();
  store::update_attempt(transaction.connection(), changed);
  transaction.changed("deployment", attempt.deployment_id);
  return absl::OkStatus();
}

}  // namespace slipway::service
