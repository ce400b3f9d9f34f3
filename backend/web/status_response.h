// absl::Status as a Connect error response, for the paths that are not RPCs. Used by artifact_routes.cpp.
#pragma once

#include "absl/status/status.h"
#include "backend/web/http.h"

namespace slipway::web {

Response status_response(const absl::Status& status);

}  // namespace slipway::web
