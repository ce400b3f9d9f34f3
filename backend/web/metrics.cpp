#include "backend/web/metrics.h"

#include <boost/asio/post.hpp>

#include "backend/web/session_cookie.h"
#include "backend/web/status_response.h"

namespace slipway::web {
namespace {

// Few names, whatever is asked for.
std::string route_of(const std::string& path) {
  for (const char* route : {"/api/", "/artifacts/", "/v1/", "/metrics", "/healthz"}) {
    if (path.rfind(route, 0) == 0) return route;
  }
  return "/";
}

}  // namespace

void Metrics::count(const RequestHead& head, int status, int64_t milliseconds) {
  const std::string route = route_of(head.path);
  const std::lock_guard lock(mutex_);
  ++requests_[{route, status}];
  milliseconds_[route] += milliseconds;
}

std::string Metrics::text() {
  std::string text =
      "# HELP slipway_http_requests_total HTTP requests answered.\n# TYPE slipway_http_requests_total counter\n";
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [key, count] : requests_) {
      text += "slipway_http_requests_total{route=\"" + key.first + "\",code=\"" + std::to_string(key.second) + "\"} " +
              std::to_string(count) + "\n";
    }
    text +=
        "# HELP slipway_http_request_seconds_total Time spent on them.\n# TYPE slipway_http_request_seconds_total "
        "counter\n";
    for (const auto& [route, milliseconds] : milliseconds_) {
      text += "slipway_http_request_seconds_total{route=\"" + route + "\"} " +
              std::to_string(static_cast<double>(milliseconds) / 1000.0) + "\n";
    }
  }
  return text + more_();
}

void Metrics::handle(const ExchangePointer& exchange) {
  boost::asio::post(workers_, [this, exchange] {
    const RequestHead& head = exchange->head();
    Response response{
        200, {{"Content-Type", "text/plain; version=0.0.4; charset=utf-8"}, {"Cache-Control", "no-store"}}, ""};
    if (!head.from_loopback) {
      const auto caller = auth_.identify(credentials_of(head));
      if (!caller.ok() || caller->kind != service::Caller::Kind::kUser) {
        response = status_response(absl::UnauthenticatedError("sign in to read the metrics"));
      }
    }
    if (response.status == 200) response.body = text();
    exchange->resume([exchange, response = std::move(response)]() mutable { exchange->respond(std::move(response)); });
  });
}

}  // namespace slipway::web
