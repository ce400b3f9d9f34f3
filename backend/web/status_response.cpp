#include "backend/web/status_response.h"

#include "backend/base/status.h"
#include "backend/web/connect_protocol.h"
#include "slipway/v1/error.pb.h"

namespace slipway::web {

Response status_response(const absl::Status& status) {
  const base::ErrorDetail detail = base::detail_of(status);
  v1::ErrorDetail message;
  message.set_reason(detail.reason);
  message.set_field(detail.field);
  message.set_advice(detail.advice);
  v1::Status details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(std::string(status.message()));
  details.add_details()->PackFrom(message);
  const grpc::Status same(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()),
                          details.SerializeAsString());
  const int code = detail.reason == "DISK_FULL" ? 507 : http_status_of(same.error_code());
  return {code,
          {{"Content-Type", "application/json"}, {"Cache-Control", "no-store"}, {"X-Content-Type-Options", "nosniff"}},
          connect_error_json(same)};
}

}  // namespace slipway::web
