#include "backend/store/deployment_key_records.h"

namespace slipway::store {
namespace {

constexpr char kSelect[] =
    "SELECT id, name, deployment_id, secret_sha256, created_at_ms, last_used_at_ms FROM deployment_keys WHERE ";

DeploymentKeyRecord read_key(SQLite::Statement& row) {
  return {row.getColumn(0).getString(), row.getColumn(1).getString(), row.getColumn(2).getString(),
          row.getColumn(3).getString(), row.getColumn(4).getInt64(),  row.getColumn(5).getInt64()};
}

}  // namespace

void insert_deployment_key(Transaction& transaction, const DeploymentKeyRecord& key) {
  execute(transaction.connection(),
          "INSERT INTO deployment_keys (id, name, deployment_id, secret_sha256, created_at_ms, last_used_at_ms) "
          "VALUES (?, ?, ?, ?, ?, ?)",
          key.id, key.name, key.deployment_id, key.secret_sha256, key.created_at_ms, key.last_used_at_ms);
}

std::vector<DeploymentKeyRecord> list_deployment_keys(Connection& connection, const std::string& deployment_id) {
  return query_all(connection, std::string(kSelect) + "deployment_id = ? ORDER BY id", read_key, deployment_id);
}

std::optional<DeploymentKeyRecord> find_deployment_key(Connection& connection, const std::string& secret_sha256) {
  return query_one(connection, std::string(kSelect) + "secret_sha256 = ?", read_key, secret_sha256);
}

void touch_deployment_key(Transaction& transaction, const std::string& id, int64_t used_at_ms) {
  execute(transaction.connection(), "UPDATE deployment_keys SET last_used_at_ms = ? WHERE id = ?", used_at_ms, id);
}

bool delete_deployment_key(Transaction& transaction, const std::string& id) {
  execute(transaction.connection(), "DELETE FROM deployment_keys WHERE id = ?", id);
  return transaction.connection().getChanges() > 0;
}

void delete_deployment_keys_of(Transaction& transaction, const std::string& deployment_id) {
  execute(transaction.connection(), "DELETE FROM deployment_keys WHERE deployment_id = ?", deployment_id);
}

}  // namespace slipway::store
