#include "backend/web/site.h"

#include <algorithm>

#include "backend/service/caller.h"
#include "backend/web/server.h"

namespace slipway::web {
namespace {

bool starts_with(std::string_view text, std::string_view prefix) { return text.substr(0, prefix.size()) == prefix; }

Response refusal(int status, const std::string& text) {
  return {status, {{"Content-Type", "text/plain; charset=utf-8"}, {"X-Content-Type-Options", "nosniff"}}, text + "\n"};
}

}  // namespace

bool comes_from_own_page(const RequestHead& head) {
  const std::string_view site = head.header("sec-fetch-site");
  const std::string_view origin = head.header("origin");
  if (!site.empty() && site != "same-origin" && site != "none") return false;
  if (!origin.empty()) return origin == (head.tls ? "https://" : "http://") + std::string(head.header("host"));
  return !site.empty();
}

bool Site::known_host(std::string_view host_header) const {
  if (any_host_) return true;
  std::string host;
  uint16_t port = 0;
  if (!split_address(std::string(host_header), host, port)) {
    host = std::string(host_header);
    if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  }
  return is_loopback_host(host) ||
         std::any_of(hosts_.begin(), hosts_.end(), [&](const std::string& known) { return same_name(known, host); });
}

void Site::handle(const ExchangePointer& exchange) {
  const RequestHead& head = exchange->head();
  if (!known_host(head.header("host"))) {
    return exchange->respond(
        refusal(421, "This server does not answer to that host name. Use its address as it printed it."));
  }
  if (head.path.empty() || head.path.front() != '/')
    return exchange->respond(refusal(400, "The path must begin with /."));
  const bool reads = head.method == "GET" || head.method == "HEAD";
  const bool has_cookie = head.header("cookie").find(service::kSessionCookie) != std::string_view::npos;
  if (has_cookie && !reads && !comes_from_own_page(head)) {
    return exchange->respond(
        refusal(403, "Requests with the session's cookie must come from the console's own pages."));
  }
  if (has_cookie && head.method == "POST" && !has_media_type(head.header("content-type"), "application/json") &&
      !has_media_type(head.header("content-type"), "application/connect+json")) {
    return exchange->respond(refusal(415, "Send JSON."));
  }
  Handler* part = parts_.console;
  if (starts_with(head.path, "/api/")) {
    part = parts_.api;
  } else if (starts_with(head.path, "/artifacts/")) {
    part = parts_.artifacts;
  } else if (starts_with(head.path, "/v1/")) {
    part = parts_.openai;
  } else if (head.path == "/metrics") {
    part = parts_.metrics;
  } else if (head.path == "/healthz") {
    return exchange->respond(
        {200, {{"Content-Type", "text/plain; charset=utf-8"}, {"Cache-Control", "no-store"}}, "ok\n"});
  }
  if (part == nullptr) return exchange->respond(refusal(404, "There is nothing at this address."));
  part->handle(exchange);
}

}  // namespace slipway::web
