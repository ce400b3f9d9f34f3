// Rows of deployment keys. Used by service::DeploymentKeys.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "backend/store/database.h"

namespace slipway::store {

struct DeploymentKeyRecord {
  std::string id;
  std::string name;
  std::string deployment_id;
  std::string secret_sha256;
  int64_t created_at_ms = 0;
  int64_t last_used_at_ms = 0;  // 0: never
};

void insert_deployment_key(Transaction& transaction, const DeploymentKeyRecord& key);
std::vector<DeploymentKeyRecord> list_deployment_keys(Connection& connection, const std::string& deployment_id);
std::optional<DeploymentKeyRecord> find_deployment_key(Connection& connection, const std::string& secret_sha256);
void touch_deployment_key(Transaction& transaction, const std::string& id, int64_t used_at_ms);
bool delete_deployment_key(Transaction& transaction, const std::string& id);
void delete_deployment_keys_of(Transaction& transaction, const std::string& deployment_id);

}  // namespace slipway::store
