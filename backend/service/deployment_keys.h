// Keys (slk_…) with which applications call one deployment. Called by the deployments' adapter and by the gateway. Any
// thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backend/base/clock.h"
#include "backend/store/database.h"
#include "backend/store/deployment_key_records.h"

namespace slipway::service {

struct NewDeploymentKey {
  store::DeploymentKeyRecord record;
  std::string secret;  // shown this once
};

class DeploymentKeys {
 public:
  DeploymentKeys(store::Database& database, const base::Clock& clock) : database_(database), clock_(clock) {}

  // `deployment_id` is of a deployment that exists (the adapter has looked it up).
  absl::StatusOr<NewDeploymentKey> create(const std::string& deployment_id, const std::string& name);
  absl::StatusOr<std::vector<store::DeploymentKeyRecord>> list(const std::string& deployment_id);
  // Revoking twice is NOT_FOUND.
  absl::Status revoke(const std::string& id);
  // In the transaction that deletes the deployment.
  static void remove_all_of(store::Transaction& transaction, const std::string& deployment_id);

  // The deployment that this secret may call. UNAUTHENTICATED when there is none.
  absl::StatusOr<std::string> find_deployment(const std::string& secret);

 private:
  store::Database& database_;
  const base::Clock& clock_;
};

}  // namespace slipway::service
