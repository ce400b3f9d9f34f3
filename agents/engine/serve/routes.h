// Which requests slipway-serve takes, before anything in them is looked at. Used by api.cpp.
#pragma once

#include <string>

#include "agents/engine/serve/http.h"

namespace slipway::serve {

inline constexpr char kModelPrefix[] = "/v1/models/";

// Empty for a route with its method, else the method that it takes. Throws ApiError 404 when there is no such route.
std::string check_route(const HttpRequest& request);

// Throws ApiError 415 for a POST that is no JSON.
void check_content_type(const HttpRequest& request);

// The text behind %20 and the like in a path.
std::string decode_percent(const std::string& text);

}  // namespace slipway::serve
