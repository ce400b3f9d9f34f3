// Who makes a gRPC call, and whether they may make it: the one place for both doors, since web/ passes the browser's
// headers on as metadata. Used by gate.h.
#pragma once

#include <grpcpp/server_context.h>

#include "absl/status/statusor.h"
#include "backend/service/auth.h"
#include "backend/service/caller.h"

namespace slipway::rpc {

// Who may call a method. Administrators are users too.
enum class Access {
  kOpen,  // anybody; credentials that are wrong count as none
  kUser,  // signed in: session cookie or API token
  kAdministrator,
  kNode,  // an agent with its node token
  kUserOrNode
};

// `cookie` and `authorization` of the call's metadata.
service::Credentials credentials_of(const grpc::CallbackServerContext& context);

class Authenticator {
 public:
  explicit Authenticator(service::Auth& auth) : auth_(auth) {}

  // UNAUTHENTICATED or PERMISSION_DENIED when `access` does not let the caller in. Reads the store: on a worker.
  absl::StatusOr<service::Caller> authenticate(const grpc::CallbackServerContext& context, Access access);

 private:
  service::Auth& auth_;
};

}  // namespace slipway::rpc
