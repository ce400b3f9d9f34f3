// Deployments: what is served under which name. Called by the adapter of DeploymentService and, through ServedModels,
// by the gateway of web/. Any thread.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backend/service/conductor.h"
#include "backend/service/served_models.h"
#include "backend/store/deployments.h"

namespace slipway::service {

struct DeploymentView {
  store::Deployment deployment;
  std::string node_id;     // of the latest replica
  std::string attempt_id;  // of the latest replica
};

class Deployments : public ServedModels {
 public:
  // wake_dispatcher: a replica was queued or is to be stopped.
  Deployments(store::Database& database, Conductor& conductor, std::function<void()> wake_dispatcher)
      : database_(database), conductor_(conductor), wake_dispatcher_(std::move(wake_dispatcher)) {}

  absl::StatusOr<DeploymentView> create(const std::string& name, const std::string& model_version_id,
                                        const std::string& dtype);
  // reference: id or name, here and below.
  absl::StatusOr<DeploymentView> get(const std::string& reference);
  absl::StatusOr<store::Page<DeploymentView>> list(const store::PageRequest& request);
  absl::StatusOr<DeploymentView> start(const std::string& reference);
  absl::StatusOr<DeploymentView> stop(const std::string& reference);
  // Stops it, and forgets it with its keys.
  absl::Status remove(const std::string& reference);

  absl::StatusOr<std::vector<ServedDeployment>> list_served() override;
  // The address (HOST:PORT) of a ready replica that knows this model name.
  absl::StatusOr<std::string> find_replica(const std::string& model_name);

  static DeploymentView view(store::Connection& connection, const store::Deployment& deployment);

 private:
  using Change = std::function<absl::Status(store::Transaction&, const std::string& deployment_id)>;
  absl::StatusOr<DeploymentView> change(const std::string& reference, const Change& action);

  store::Database& database_;
  Conductor& conductor_;
  std::function<void()> wake_dispatcher_;
};

}  // namespace slipway::service
