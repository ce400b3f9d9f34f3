#include "backend/rpc/authenticator.h"

#include "backend/base/status.h"

namespace slipway::rpc {
namespace {

std::string metadata(const grpc::CallbackServerContext& context, const char* name) {
  const auto& all = context.client_metadata();
  const auto found = all.find(name);
  return found == all.end() ? std::string() : std::string(found->second.data(), found->second.size());
}

}  // namespace

service::Credentials credentials_of(const grpc::CallbackServerContext& context) {
  return service::parse_credentials(metadata(context, "cookie"), metadata(context, "authorization"));
}

absl::StatusOr<service::Caller> Authenticator::authenticate(const grpc::CallbackServerContext& context, Access access) {
  using Kind = service::Caller::Kind;
  auto caller = auth_.identify(credentials_of(context));
  if (access == Access::kOpen) {
    if (!caller.ok() && caller.status().code() == absl::StatusCode::kUnauthenticated) return service::Caller();
    return caller;
  }
  if (!caller.ok()) return caller.status();
  if (caller->kind == Kind::kNobody) {
    if (access == Access::kNode) {
      return base::error(absl::StatusCode::kUnauthenticated, "this is for agents that have joined",
                         {"NOT_JOINED", "", "start slipway-agent with --join TOKEN"});
    }
    return base::error(absl::StatusCode::kUnauthenticated, "nobody is signed in",
                       {"NOT_SIGNED_IN", "", "sign in first (slipway login, or the console's sign-in page)"});
  }
  const bool user = caller->kind == Kind::kUser;
  bool allowed = true;
  switch (access) {
    case Access::kOpen:
    case Access::kUserOrNode:
      break;
    case Access::kUser:
      allowed = user;
      break;
    case Access::kAdministrator:
      allowed = user && caller->administrator;
      break;
    case Access::kNode:
      allowed = !user;
      break;
  }
  if (allowed) return caller;
  if (access == Access::kAdministrator && user) {
    return base::error(absl::StatusCode::kPermissionDenied, "only administrators may do this",
                       {"NOT_ADMINISTRATOR", "", "ask an administrator"});
  }
  return base::error(absl::StatusCode::kPermissionDenied,
                     user ? "only agents may call this" : "agents may not call this",
                     {"WRONG_KIND_OF_CALLER", "", user ? "this is how agents speak to slipwayd" : "sign in as a user"});
}

}  // namespace slipway::rpc
