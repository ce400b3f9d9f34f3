// Sign-in: the first administrator, passwords, browser sessions, API tokens, and who a request comes from.
// Called by rpc/ and web/ on their workers. Any thread.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backend/base/clock.h"
#include "backend/service/caller.h"
#include "backend/service/passwords.h"
#include "backend/service/slow_down.h"
#include "backend/store/auth_records.h"
#include "backend/store/database.h"

namespace slipway::service {

class NodeTokens;

struct SignedIn {
  store::UserRecord user;
  std::string session_secret;  // for the cookie; empty when an API token was asked for
  std::string api_token;       // slw_…; empty when a session was made
};

struct NewApiToken {
  store::ApiTokenRecord record;
  std::string secret;
};

class Auth {
 public:
  // A browser session ends this long after its last use.
  static constexpr int64_t kSessionLifetimeMs = int64_t{30} * 24 * 3600 * 1000;

  // nodes: may be null (no node is known then); all must outlive this.
  Auth(store::Database& database, const base::Clock& clock, NodeTokens* nodes, PasswordCost cost);

  // Who sends this: kNobody without credentials; UNAUTHENTICATED for credentials that are wrong or have ended.
  absl::StatusOr<Caller> identify(const Credentials& credentials);

  absl::StatusOr<bool> needs_administrator();
  // A new one-time secret for the first administrator, which replaces the one before. For main.cpp, which writes the
  // link.
  std::string start_setup();
  absl::StatusOr<SignedIn> complete_setup(const std::string& setup_token, const std::string& user_name,
                                          const std::string& password);

  // With api_token_name: makes an API token of that name instead of a session.
  absl::StatusOr<SignedIn> sign_in(const std::string& user_name, const std::string& password,
                                   const std::string& api_token_name);
  // Ends the session or the API token that the caller came with.
  absl::Status sign_out(const Caller& caller);
  absl::StatusOr<store::UserRecord> current_user(const Caller& caller);
  // Ends the user's other sessions.
  absl::Status change_password(const Caller& caller, const std::string& old_password, const std::string& new_password);

  absl::StatusOr<NewApiToken> create_api_token(const Caller& caller, const std::string& name);
  absl::StatusOr<std::vector<store::ApiTokenRecord>> list_api_tokens(const Caller& caller);
  absl::Status revoke_api_token(const Caller& caller, const std::string& id);

 private:
  absl::StatusOr<Caller> identify_session(const std::string& secret);
  absl::StatusOr<Caller> identify_api_token(const std::string& secret);
  absl::StatusOr<Caller> identify_node(const std::string& secret);
  absl::StatusOr<SignedIn> open(const store::UserRecord& user, const std::string& api_token_name);

  store::Database& database_;
  const base::Clock& clock_;
  NodeTokens* nodes_;
  Passwords passwords_;
  SlowDown failures_;
  std::mutex setup_mutex_;
  std::string setup_sha256_;  // guarded by setup_mutex_; empty: no setup
};

}  // namespace slipway::service
