#include "agents/engine/serve/routes.h"

#include <algorithm>
#include <cctype>

#include "agents/engine/serve/api_error.h"

namespace slipway::serve {
namespace {

struct Route {
  const char* method;
  const char* path;
};
constexpr Route kRoutes[] = {
    {"GET", "/health"},
    {"GET", "/ping"},
    {"POST", "/ping"},
    {"GET", "/version"},
    {"GET", "/metrics"},
    {"GET", "/v1/models"},
    {"POST", "/v1/completions"},
    {"POST", "/v1/chat/completions"},
    {"POST", "/v1/embeddings"},
    {"POST", "/tokenize"},
    {"POST", "/detokenize"},
    {"POST", "/v1/load_lora_adapter"},
    {"POST", "/v1/unload_lora_adapter"},
};

}  // namespace

std::string check_route(const HttpRequest& request) {
  std::string allowed;
  for (const Route& route : kRoutes) {
    if (request.path != route.path) continue;
    if (request.method == route.method || (request.method == "HEAD" && std::string(route.method) == "GET")) return "";
    allowed = route.method;
  }
  if (request.path.starts_with(kModelPrefix)) allowed = request.method == "GET" ? "" : "GET";
  if (request.path.starts_with(kModelPrefix) && allowed.empty()) return "";
  if (allowed.empty())
    throw ApiError(404, "there is nothing at " + request.method.substr(0, 20) + " " + request.path.substr(0, 200), "",
                   "not_found");
  return allowed;
}

// A page of a foreign site can send forms and plain text without asking; JSON it cannot.
void check_content_type(const HttpRequest& request) {
  if (request.method != "POST") return;
  std::string type = request.header("content-type");
  type = type.substr(0, type.find(';'));
  while (!type.empty() && type.back() == ' ') type.pop_back();
  std::transform(type.begin(), type.end(), type.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (type.empty() || type == "application/json") return;
  throw ApiError(415, "the body must be application/json, not " + type.substr(0, 100) +
                          "; with curl: -H 'Content-Type: application/json'");
}

std::string decode_percent(const std::string& text) {
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  };
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && digit(text[i + 1]) >= 0 && digit(text[i + 2]) >= 0) {
      result += static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2]));
      i += 2;
    } else {
      result += text[i];
    }
  }
  return result;
}

}  // namespace slipway::serve
