#include "backend/service/auth.h"

#include <utility>

#include "absl/strings/match.h"
#include "backend/base/ids.h"
#include "backend/base/sha256.h"
#include "backend/base/status.h"
#include "backend/service/node_tokens.h"

namespace slipway::service {
namespace {

constexpr char kApiTokenPrefix[] = "slw_";
constexpr char kNodeTokenPrefix[] = "sln_";
constexpr int64_t kTouchSessionEveryMs = 3600 * 1000;
constexpr int64_t kTouchTokenEveryMs = 60 * 1000;
constexpr size_t kMaxSecretBytes = 200;
constexpr size_t kMaxPasswordBytes = 1024;
constexpr size_t kMinPasswordCharacters = 10;
constexpr size_t kMaxUserNameBytes = 64;
constexpr size_t kMaxTokenNameBytes = 100;
constexpr size_t kMostApiTokens = 1000;
// The name under which wrong setup tokens are counted; no user can have it.
constexpr char kSetupName[] = "/setup";

absl::Status unauthenticated(const std::string& reason, const std::string& message, const std::string& advice) {
  return base::error(absl::StatusCode::kUnauthenticated, message, {reason, "", advice});
}

absl::Status session_ended() { return unauthenticated("SESSION_ENDED", "the session has ended", "sign in again"); }

absl::Status token_unknown() {
  return unauthenticated("INVALID_TOKEN", "the token is not known or was revoked", "sign in again (slipway login)");
}

absl::Status wrong_password() {
  return unauthenticated("WRONG_PASSWORD", "user name or password is wrong", "check both and try again");
}

absl::Status must_be_user(const Caller& caller) {
  if (caller.kind == Caller::Kind::kUser) return absl::OkStatus();
  return unauthenticated("NOT_SIGNED_IN", "this needs a signed-in user", "sign in first");
}

absl::Status check_user_name(const std::string& name) {
  bool fine = !name.empty() && name.size() <= kMaxUserNameBytes;
  for (const char c : name) {
    fine = fine && ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                    c == '_' || c == '-' || c == '@');
  }
  if (fine) return absl::OkStatus();
  return base::invalid_argument("user_name", "this is no user name",
                                "use 1 to 64 letters, digits, '.', '_', '-' or '@'");
}

absl::Status check_new_password(const std::string& field, const std::string& password) {
  size_t characters = 0;
  for (const char c : password) characters += (static_cast<unsigned char>(c) & 0xC0U) != 0x80U ? 1 : 0;
  if (characters < kMinPasswordCharacters) {
    return base::invalid_argument(field, "the password is shorter than 10 characters", "use a longer one");
  }
  if (password.size() > kMaxPasswordBytes) {
    return base::invalid_argument(field, "the password is longer than 1,024 bytes", "use a shorter one");
  }
  return absl::OkStatus();
}

// Equal in content, in time that does not depend on where they differ.
bool same_hash(const std::string& a, const std::string& b) {
  if (a.size() != b.size()) return false;
  unsigned difference = 0;
  for (size_t i = 0; i < a.size(); ++i)
    difference |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i]);
  return difference == 0;
}

}  // namespace

Auth::Auth(store::Database& database, const base::Clock& clock, NodeTokens* nodes, PasswordCost cost)
    : database_(database), clock_(clock), nodes_(nodes), passwords_(cost), failures_(clock) {}

absl::StatusOr<Caller> Auth::identify(const Credentials& credentials) {
  if (credentials.bearer.size() > kMaxSecretBytes || credentials.session.size() > kMaxSecretBytes)
    return token_unknown();
  if (absl::StartsWith(credentials.bearer, kNodeTokenPrefix)) return identify_node(credentials.bearer);
  if (!credentials.bearer.empty()) return identify_api_token(credentials.bearer);
  if (!credentials.session.empty()) return identify_session(credentials.session);
  return Caller();
}

absl::StatusOr<Caller> Auth::identify_session(const std::string& secret) {
  std::optional<store::SessionRecord> session;
  std::optional<store::UserRecord> user;
  const absl::Status status = database_.read([&](store::Connection& connection) {
    session = store::find_session(connection, base::sha256_hex(secret));
    if (session) user = store::find_user(connection, session->user_id);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  const int64_t now_ms = clock_.now_ms();
  if (!user || now_ms - session->last_seen_at_ms > kSessionLifetimeMs) return session_ended();
  if (now_ms - session->last_seen_at_ms >= kTouchSessionEveryMs) {
    database_.post(
        [id = session->id, now_ms](store::Transaction& transaction) {
          store::touch_session(transaction, id, now_ms);
          store::delete_sessions_before(transaction, now_ms - kSessionLifetimeMs);
          return absl::OkStatus();
        },
        nullptr);
  }
  return Caller{Caller::Kind::kUser, user->id, user->name, user->administrator, session->id, ""};
}

absl::StatusOr<Caller> Auth::identify_api_token(const std::string& secret) {
  if (!absl::StartsWith(secret, kApiTokenPrefix)) return token_unknown();
  std::optional<store::ApiTokenRecord> token;
  std::optional<store::UserRecord> user;
  const absl::Status status = database_.read([&](store::Connection& connection) {
    token = store::find_api_token(connection, base::sha256_hex(secret));
    if (token) user = store::find_user(connection, token->user_id);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  if (!user) return token_unknown();
  const int64_t now_ms = clock_.now_ms();
  if (now_ms - token->last_used_at_ms >= kTouchTokenEveryMs) {
    database_.post(
        [id = token->id, now_ms](store::Transaction& transaction) {
          store::touch_api_token(transaction, id, now_ms);
          return absl::OkStatus();
        },
        nullptr);
  }
  return Caller{Caller::Kind::kUser, user->id, user->name, user->administrator, "", token->id};
}

absl::StatusOr<Caller> Auth::identify_node(const std::string& secret) {
  if (nodes_ == nullptr) return token_unknown();
  const auto node = nodes_->find_node(base::sha256_hex(secret));
  if (!node.ok()) return node.status();
  if (!*node) {
    return unauthenticated("INVALID_NODE_TOKEN", "this node is not known here, or was removed",
                           "let the agent join again with a new join token");
  }
  return Caller{Caller::Kind::kNode, **node, "", false, "", ""};
}

absl::StatusOr<bool> Auth::needs_administrator() {
  return database_.read(
      [](store::Connection& connection) -> absl::StatusOr<bool> { return store::count_users(connection) == 0; });
}

std::string Auth::start_setup() {
  std::string secret = base::random_secret();
  const std::lock_guard lock(setup_mutex_);
  setup_sha256_ = base::sha256_hex(secret);
  return secret;
}

absl::StatusOr<SignedIn> Auth::complete_setup(const std::string& setup_token, const std::string& user_name,
                                              const std::string& password) {
  if (absl::Status status = failures_.check(kSetupName); !status.ok()) return status;
  {
    const std::lock_guard lock(setup_mutex_);
    if (setup_sha256_.empty()) {
      return base::failed_precondition("SETUP_DONE", "the first administrator was made already", "sign in instead");
    }
    if (!same_hash(setup_sha256_, base::sha256_hex(setup_token))) {
      failures_.failed(kSetupName);
      return base::error(
          absl::StatusCode::kUnauthenticated, "the setup link is not the right one",
          {"WRONG_SETUP_TOKEN", "setup_token",
           "use the link that slipwayd printed at its latest start (file setup-link of its data folder)"});
    }
  }
  if (absl::Status status = check_user_name(user_name); !status.ok()) return status;
  if (absl::Status status = check_new_password("password", password); !status.ok()) return status;
  auto hash = passwords_.hash(password);
  if (!hash.ok()) return hash.status();
  const int64_t now_ms = clock_.now_ms();
  const store::UserRecord user{base::new_id("user", now_ms), user_name, true, *std::move(hash), now_ms};
  const absl::Status status = database_.write([&](store::Transaction& transaction) {
    if (store::count_users(transaction.connection()) != 0) {
      return base::failed_precondition("SETUP_DONE", "the first administrator was made already", "sign in instead");
    }
    store::insert_user(transaction, user);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  {
    const std::lock_guard lock(setup_mutex_);
    setup_sha256_.clear();
  }
  failures_.succeeded(kSetupName);
  return open(user, "");
}

absl::StatusOr<SignedIn> Auth::sign_in(const std::string& user_name, const std::string& password,
                                       const std::string& api_token_name) {
  if (user_name.empty()) return base::invalid_argument("user_name", "the user name is missing", "give the user's name");
  if (password.empty()) return base::invalid_argument("password", "the password is missing", "give the password");
  if (user_name.size() > kMaxUserNameBytes || password.size() > kMaxPasswordBytes) return wrong_password();
  if (api_token_name.size() > kMaxTokenNameBytes) {
    return base::invalid_argument("api_token_name", "the name is longer than 100 bytes", "use a shorter one");
  }
  if (absl::Status status = failures_.check(user_name); !status.ok()) return status;
  std::optional<store::UserRecord> user;
  const absl::Status status = database_.read([&](store::Connection& connection) {
    user = store::find_user_by_name(connection, user_name);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  const auto right = user ? passwords_.verify(user->password_hash, password) : passwords_.verify_nothing(password);
  if (!right.ok()) return right.status();
  if (!*right) {
    failures_.failed(user_name);
    return wrong_password();
  }
  failures_.succeeded(user_name);
  return open(*user, api_token_name);
}

absl::StatusOr<SignedIn> Auth::open(const store::UserRecord& user, const std::string& api_token_name) {
  SignedIn result{user, "", ""};
  const int64_t now_ms = clock_.now_ms();
  const absl::Status status = database_.write([&](store::Transaction& transaction) {
    if (api_token_name.empty()) {
      result.session_secret = base::random_secret();
      store::insert_session(transaction, {base::new_id("session", now_ms), user.id,
                                          base::sha256_hex(result.session_secret), now_ms, now_ms});
    } else {
      result.api_token = kApiTokenPrefix + base::random_secret();
      store::insert_api_token(transaction, {base::new_id("token", now_ms), user.id, api_token_name,
                                            base::sha256_hex(result.api_token), now_ms, 0});
    }
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return result;
}

absl::Status Auth::sign_out(const Caller& caller) {
  return database_.write([&](store::Transaction& transaction) {
    if (!caller.session_id.empty()) store::delete_session(transaction, caller.session_id);
    if (!caller.api_token_id.empty()) store::delete_api_token(transaction, caller.id, caller.api_token_id);
    return absl::OkStatus();
  });
}

absl::StatusOr<store::UserRecord> Auth::current_user(const Caller& caller) {
  if (absl::Status status = must_be_user(caller); !status.ok()) return status;
  return database_.read([&](store::Connection& connection) -> absl::StatusOr<store::UserRecord> {
    auto user = store::find_user(connection, caller.id);
    if (!user) return session_ended();
    return *std::move(user);
  });
}

absl::Status Auth::change_password(const Caller& caller, const std::string& old_password,
                                   const std::string& new_password) {
  const auto user = current_user(caller);
  if (!user.ok()) return user.status();
  if (absl::Status status = check_new_password("new_password", new_password); !status.ok()) return status;
  if (absl::Status status = failures_.check(user->name); !status.ok()) return status;
  const auto right = passwords_.verify(user->password_hash, old_password.substr(0, kMaxPasswordBytes));
  if (!right.ok()) return right.status();
  if (!*right) {
    failures_.failed(user->name);
    return base::error(absl::StatusCode::kPermissionDenied, "the old password is wrong",
                       {"WRONG_PASSWORD", "old_password", "check it and try again"});
  }
  failures_.succeeded(user->name);
  const auto hash = passwords_.hash(new_password);
  if (!hash.ok()) return hash.status();
  return database_.write([&](store::Transaction& transaction) {
    store::set_password_hash(transaction, user->id, *hash);
    store::delete_sessions_of(transaction, user->id, caller.session_id);
    return absl::OkStatus();
  });
}

absl::StatusOr<NewApiToken> Auth::create_api_token(const Caller& caller, const std::string& name) {
  if (absl::Status status = must_be_user(caller); !status.ok()) return status;
  if (name.empty() || name.size() > kMaxTokenNameBytes) {
    return base::invalid_argument("name", "a token needs a name of 1 to 100 bytes",
                                  "name the program that will use it");
  }
  NewApiToken token;
  const int64_t now_ms = clock_.now_ms();
  token.secret = kApiTokenPrefix + base::random_secret();
  token.record = {base::new_id("token", now_ms), caller.id, name, base::sha256_hex(token.secret), now_ms, 0};
  const absl::Status status = database_.write([&](store::Transaction& transaction) -> absl::Status {
    if (store::list_api_tokens(transaction.connection(), caller.id).size() >= kMostApiTokens) {
      return base::failed_precondition("TOO_MANY_TOKENS", "there are 1,000 API tokens already",
                                       "revoke some that are no longer used");
    }
    store::insert_api_token(transaction, token.record);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return token;
}

absl::StatusOr<std::vector<store::ApiTokenRecord>> Auth::list_api_tokens(const Caller& caller) {
  if (absl::Status status = must_be_user(caller); !status.ok()) return status;
  return database_.read([&](store::Connection& connection) -> absl::StatusOr<std::vector<store::ApiTokenRecord>> {
    return store::list_api_tokens(connection, caller.id);
  });
}

absl::Status Auth::revoke_api_token(const Caller& caller, const std::string& id) {
  if (absl::Status status = must_be_user(caller); !status.ok()) return status;
  if (id.empty()) return base::invalid_argument("id", "the token's id is missing", "take it from the list of tokens");
  return database_.write([&](store::Transaction& transaction) {
    return store::delete_api_token(transaction, caller.id, id) ? absl::OkStatus() : base::not_found("API token", id);
  });
}

}  // namespace slipway::service
