// The browser's session cookie. Cookies do not know ports: its name does, so that two slipwayd on one host keep apart.
// Inside, over gRPC, it has one name. Used by the parts of web/ that ask who calls.
#pragma once

#include <string>

#include "backend/service/caller.h"
#include "backend/web/http.h"

namespace slipway::web {

// slipway_session_7878 for an address with a port, slipway_session without one.
std::string session_cookie_name(const RequestHead& head);

service::Credentials credentials_of(const RequestHead& head);

}  // namespace slipway::web
