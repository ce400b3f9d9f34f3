#include "backend/service/deployment_keys.h"

#include "absl/strings/match.h"
#include "backend/base/ids.h"
#include "backend/base/sha256.h"
#include "backend/base/status.h"

namespace slipway::service {
namespace {
constexpr char kPrefix[] = "slk_";
constexpr int64_t kTouchEveryMs = 60'000;
constexpr size_t kMaxNameBytes = 100;
}  // namespace

absl::StatusOr<NewDeploymentKey> DeploymentKeys::create(const std::string& deployment_id, const std::string& name) {
  if (name.empty() || name.size() > kMaxNameBytes) {
    return base::invalid_argument("name", "a key needs a name of 1 to 100 characters",
                                  "name the application that will use it");
  }
  NewDeploymentKey key;
  key.secret = kPrefix + base::random_secret();
  key.record = {
      base::new_id("key", clock_.now_ms()), name, deployment_id, base::sha256_hex(key.secret), clock_.now_ms(), 0};
  const absl::Status status = database_.write([&](store::Transaction& transaction) {
    store::insert_deployment_key(transaction, key.record);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return key;
}

absl::StatusOr<std::vector<store::DeploymentKeyRecord>> DeploymentKeys::list(const std::string& deployment_id) {
  return database_.read([&](store::Connection& connection) -> absl::StatusOr<std::vector<store::DeploymentKeyRecord>> {
    return store::list_deployment_keys(connection, deployment_id);
  });
}

absl::Status DeploymentKeys::revoke(const std::string& id) {
  return database_.write([&](store::Transaction& transaction) {
    return store::delete_deployment_key(transaction, id) ? absl::OkStatus() : base::not_found("deployment key", id);
  });
}

void DeploymentKeys::remove_all_of(store::Transaction& transaction, const std::string& deployment_id) {
  store::delete_deployment_keys_of(transaction, deployment_id);
}

absl::StatusOr<std::string> DeploymentKeys::find_deployment(const std::string& secret) {
  using Found = std::optional<store::DeploymentKeyRecord>;
  absl::StatusOr<Found> found = Found();
  if (absl::StartsWith(secret, kPrefix)) {
    found = database_.read([&](store::Connection& connection) -> absl::StatusOr<Found> {
      return store::find_deployment_key(connection, base::sha256_hex(secret));
    });
  }
  if (!found.ok()) return found.status();
  if (!*found) {
    return base::error(absl::StatusCode::kUnauthenticated, "this deployment key is not known or was revoked",
                       {"INVALID_KEY", "", "make a new key for the deployment"});
  }
  const store::DeploymentKeyRecord& key = **found;
  const int64_t now_ms = clock_.now_ms();
  if (now_ms - key.last_used_at_ms >= kTouchEveryMs) {
    database_.post(
        [id = key.id, now_ms](store::Transaction& transaction) {
          store::touch_deployment_key(transaction, id, now_ms);
          return absl::OkStatus();
        },
        nullptr);
  }
  return key.deployment_id;
}

}  // namespace slipway::service
