#include "backend/rpc/status.h"

#include "backend/base/status.h"
#include "slipway/v1/error.pb.h"

namespace slipway::rpc {

grpc::Status to_grpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const base::ErrorDetail detail = base::detail_of(status);
  v1::ErrorDetail message;
  message.set_reason(detail.reason);
  message.set_field(detail.field);
  message.set_advice(detail.advice);
  for (const base::FieldViolation& violation : detail.violations) {
    v1::FieldViolation* added = message.add_violations();
    added->set_field(violation.field);
    added->set_message(violation.message);
    added->set_advice(violation.advice);
  }
  v1::Status details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(std::string(status.message()));
  details.add_details()->PackFrom(message);
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message()), details.SerializeAsString()};
}

}  // namespace slipway::rpc
