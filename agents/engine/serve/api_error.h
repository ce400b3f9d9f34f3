// The one exception of the API: what is wrong with a request, in the shape of OpenAI's error bodies.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace slipway::serve {

struct ApiError : std::runtime_error {
  ApiError(int http_status, const std::string& message, std::string field = "", std::string error_code = "")
      : std::runtime_error(message), status(http_status), param(std::move(field)), code(std::move(error_code)) {}

  int status;
  std::string param;  // the field at fault; empty: null
  std::string code;   // model_not_found, context_length_exceeded, …; empty: null
};

}  // namespace slipway::serve
