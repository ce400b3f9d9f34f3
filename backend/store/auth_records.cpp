#include "backend/store/auth_records.h"

namespace slipway::store {
namespace {

constexpr char kUserColumns[] = "id, name, administrator, password_hash, created_at_ms";
constexpr char kTokenColumns[] = "id, user_id, name, secret_sha256, created_at_ms, last_used_at_ms";

UserRecord read_user(SQLite::Statement& row) {
  return {row.getColumn(0).getString(), row.getColumn(1).getString(), row.getColumn(2).getInt() != 0,
          row.getColumn(3).getString(), row.getColumn(4).getInt64()};
}

ApiTokenRecord read_token(SQLite::Statement& row) {
  return {row.getColumn(0).getString(), row.getColumn(1).getString(), row.getColumn(2).getString(),
          row.getColumn(3).getString(), row.getColumn(4).getInt64(),  row.getColumn(5).getInt64()};
}

}  // namespace

int64_t count_users(Connection& connection) {
  return query_one(connection, "SELECT count(*) FROM users",
                   [](SQLite::Statement& row) { return row.getColumn(0).getInt64(); })
      .value_or(0);
}

std::optional<UserRecord> find_user(Connection& connection, const std::string& id) {
  return query_one(connection, std::string("SELECT ") + kUserColumns + " FROM users WHERE id = ?", read_user, id);
}

std::optional<UserRecord> find_user_by_name(Connection& connection, const std::string& name) {
  return query_one(connection, std::string("SELECT ") + kUserColumns + " FROM users WHERE name = ?", read_user, name);
}

void insert_user(Transaction& transaction, const UserRecord& user) {
  execute(transaction.connection(), "INSERT INTO users VALUES (?, ?, ?, ?, ?)", user.id, user.name,
          user.administrator ? 1 : 0, user.password_hash, user.created_at_ms);
}

void set_password_hash(Transaction& transaction, const std::string& user_id, const std::string& password_hash) {
  execute(transaction.connection(), "UPDATE users SET password_hash = ? WHERE id = ?", password_hash, user_id);
}

std::optional<SessionRecord> find_session(Connection& connection, const std::string& secret_sha256) {
  return query_one(
      connection,
      "SELECT id, user_id, secret_sha256, created_at_ms, last_seen_at_ms FROM sessions WHERE secret_sha256 = ?",
      [](SQLite::Statement& row) {
        return SessionRecord{row.getColumn(0).getString(), row.getColumn(1).getString(), row.getColumn(2).getString(),
                             row.getColumn(3).getInt64(), row.getColumn(4).getInt64()};
      },
      secret_sha256);
}

void insert_session(Transaction& transaction, const SessionRecord& session) {
  execute(transaction.connection(), "INSERT INTO sessions VALUES (?, ?, ?, ?, ?)", session.id, session.user_id,
          session.secret_sha256, session.created_at_ms, session.last_seen_at_ms);
}

void touch_session(Transaction& transaction, const std::string& id, int64_t seen_at_ms) {
  execute(transaction.connection(), "UPDATE sessions SET last_seen_at_ms = ? WHERE id = ?", seen_at_ms, id);
}

void delete_session(Transaction& transaction, const std::string& id) {
  execute(transaction.connection(), "DELETE FROM sessions WHERE id = ?", id);
}

void delete_sessions_of(Transaction& transaction, const std::string& user_id, const std::string& except_id) {
  execute(transaction.connection(), "DELETE FROM sessions WHERE user_id = ? AND id <> ?", user_id, except_id);
}

void delete_sessions_before(Transaction& transaction, int64_t last_seen_before_ms) {
  execute(transaction.connection(), "DELETE FROM sessions WHERE last_seen_at_ms < ?", last_seen_before_ms);
}

std::optional<ApiTokenRecord> find_api_token(Connection& connection, const std::string& secret_sha256) {
  return query_one(connection, std::string("SELECT ") + kTokenColumns + " FROM api_tokens WHERE secret_sha256 = ?",
                   read_token, secret_sha256);
}

std::vector<ApiTokenRecord> list_api_tokens(Connection& connection, const std::string& user_id) {
  return query_all(connection,
                   std::string("SELECT ") + kTokenColumns + " FROM api_tokens WHERE user_id = ? ORDER BY id",
                   read_token, user_id);
}

void insert_api_token(Transaction& transaction, const ApiTokenRecord& token) {
  execute(transaction.connection(), "INSERT INTO api_tokens VALUES (?, ?, ?, ?, ?, ?)", token.id, token.user_id,
          token.name, token.secret_sha256, token.created_at_ms, token.last_used_at_ms);
}

void touch_api_token(Transaction& transaction, const std::string& id, int64_t used_at_ms) {
  execute(transaction.connection(), "UPDATE api_tokens SET last_used_at_ms = ? WHERE id = ?", used_at_ms, id);
}

bool delete_api_token(Transaction& transaction, const std::string& user_id, const std::string& id) {
  execute(transaction.connection(), "DELETE FROM api_tokens WHERE id = ? AND user_id = ?", id, user_id);
  return transaction.connection().getChanges() > 0;
}

}  // namespace slipway::store
