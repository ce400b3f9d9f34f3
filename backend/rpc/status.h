// absl::Status -> grpc::Status with slipway.v1.ErrorDetail in its details. Used by every adapter.
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace slipway::rpc {

grpc::Status to_grpc(const absl::Status& status);

}  // namespace slipway::rpc
