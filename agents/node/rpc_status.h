// gRPC's status as absl's: the codes are the same numbers.
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace slipway::node {

inline absl::Status to_absl(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

// True for failures of the connection rather than of the request: worth trying again.
inline bool is_transient(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kUnauthenticated:  // the node token is being renewed
    case absl::StatusCode::kAborted:
      return true;
    default:
      return false;
  }
}

}  // namespace slipway::node
