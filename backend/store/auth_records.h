// Rows of users, sessions and API tokens. Secrets are kept as SHA-256. Used by service::Auth.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "backend/store/database.h"

namespace slipway::store {

struct UserRecord {
  std::string id;
  std::string name;
  bool administrator = false;
  std::string password_hash;
  int64_t created_at_ms = 0;
};
struct SessionRecord {
  std::string id;
  std::string user_id;
  std::string secret_sha256;
  int64_t created_at_ms = 0;
  int64_t last_seen_at_ms = 0;
};
struct ApiTokenRecord {
  std::string id;
  std::string user_id;
  std::string name;
  std::string secret_sha256;
  int64_t created_at_ms = 0;
  int64_t last_used_at_ms = 0;  // 0: never
};

int64_t count_users(Connection& connection);
std::optional<UserRecord> find_user(Connection& connection, const std::string& id);
std::optional<UserRecord> find_user_by_name(Connection& connection, const std::string& name);
void insert_user(Transaction& transaction, const UserRecord& user);
void set_password_hash(Transaction& transaction, const std::string& user_id, const std::string& password_hash);

std::optional<SessionRecord> find_session(Connection& connection, const std::string& secret_sha256);
void insert_session(Transaction& transaction, const SessionRecord& session);
void touch_session(Transaction& transaction, const std::string& id, int64_t seen_at_ms);
void delete_session(Transaction& transaction, const std::string& id);
// Keeps the session `except_id`.
void delete_sessions_of(Transaction& transaction, const std::string& user_id, const std::string& except_id);
void delete_sessions_before(Transaction& transaction, int64_t last_seen_before_ms);

std::optional<ApiTokenRecord> find_api_token(Connection& connection, const std::string& secret_sha256);
std::vector<ApiTokenRecord> list_api_tokens(Connection& connection, const std::string& user_id);
void insert_api_token(Transaction& transaction, const ApiTokenRecord& token);
void touch_api_token(Transaction& transaction, const std::string& id, int64_t used_at_ms);
// False when the user has no such token.
bool delete_api_token(Transaction& transaction, const std::string& user_id, const std::string& id);

}  // namespace slipway::store
