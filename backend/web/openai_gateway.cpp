#include "backend/web/openai_gateway.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "backend/base/status.h"
#include "backend/web/session_cookie.h"
#include "backend/web/upstream.h"

namespace slipway::web {
namespace {

using nlohmann::ordered_json;
using service::ServedDeployment;

constexpr size_t kMaxBodyBytes = 32 << 20;
constexpr std::string_view kForwarded[] = {"/v1/chat/completions", "/v1/completions", "/v1/embeddings"};
constexpr char kInvalidRequest[] = "invalid_request_error";

void answer(const ExchangePointer& exchange, Response response) {
  exchange->resume([exchange, response = std::move(response)]() mutable { exchange->respond(std::move(response)); });
}

// Follows the nesting and takes the one value it is after; numbers, texts and depth cost nothing.
class ModelFinder {
 public:
  using number_integer_t = int64_t;
  using number_unsigned_t = uint64_t;
  using number_float_t = double;
  using string_t = std::string;
  using binary_t = std::vector<uint8_t>;

  bool null() { return value(); }
  bool boolean(bool) { return value(); }
  bool number_integer(int64_t) { return value(); }
  bool number_unsigned(uint64_t) { return value(); }
  bool number_float(double, const std::string&) { return value(); }
  bool binary(binary_t&) { return value(); }
  bool string(std::string& text) {
    if (depth_ == 1 && wanted_) model = text;
    return value();
  }
  bool start_object(size_t) {
    if (depth_ == 0) object = true;
    ++depth_;
    return true;
  }
  bool end_object() {
    --depth_;
    return value();
  }
  bool start_array(size_t) {
    ++depth_;
    return true;
  }
  bool end_array() {
    --depth_;
    return value();
  }
  bool key(std::string& name) {
    wanted_ = depth_ == 1 && name == "model";
    return true;
  }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception&) { return false; }

  std::string model;
  bool object = false;

 private:
  bool value() {
    wanted_ = false;
    return true;
  }
  int64_t depth_ = 0;
  bool wanted_ = false;
};

Response of_status(const absl::Status& status) {
  const base::ErrorDetail detail = base::detail_of(status);
  const std::string message = std::string(status.message()) + (detail.advice.empty() ? "" : ": " + detail.advice);
  switch (status.code()) {
    case absl::StatusCode::kUnauthenticated:
      return openai_error(401, message, kInvalidRequest, "invalid_api_key");
    case absl::StatusCode::kPermissionDenied:
      return openai_error(403, message, kInvalidRequest, "permission_denied");
    default:
      return openai_error(500, message, "server_error", "internal_error");
  }
}

std::string ready_names(const std::vector<ServedDeployment>& deployments) {
  std::vector<std::string> names;
  for (const ServedDeployment& deployment : deployments) {
    if (deployment.state != ServedDeployment::State::kReady) continue;
    names.insert(names.end(), deployment.served_names.begin(), deployment.served_names.end());
  }
  return names.empty() ? "none is ready" : "ready are " + absl::StrJoin(names, ", ");
}

const ServedDeployment* find_named(const std::vector<ServedDeployment>& deployments, const std::string& model) {
  for (const ServedDeployment& deployment : deployments) {
    const auto& names = deployment.served_names;
    if (std::find(names.begin(), names.end(), model) != names.end()) return &deployment;
  }
  return nullptr;
}

ordered_json model_object(const ServedDeployment& deployment, const std::string& name) {
  return {{"id", name}, {"object", "model"}, {"created", deployment.created_at_ms / 1000}, {"owned_by", "slipway"}};
}

Response json_response(int status, const ordered_json& body) {
  return {status,
          {{"Content-Type", "application/json"}, {"Cache-Control", "no-store"}, {"X-Content-Type-Options", "nosniff"}},
          body.dump(-1, ' ', false, ordered_json::error_handler_t::replace)};
}

// Of the caller's headers: what the replica has use for, and no credentials.
std::vector<Header> forwarded_headers(const RequestHead& head) {
  std::vector<Header> headers;
  for (const char* name : {"content-type", "accept", "x-request-id", "traceparent"}) {
    const std::string value(head.header(name));
    if (!value.empty()) headers.push_back({name, value});
  }
  return headers;
}

// Of the replica's: all but what belongs to its own connection.
std::vector<Header> returned_headers(std::vector<Header> headers) {
  std::erase_if(headers, [](const Header& header) {
    for (const char* name : {"connection", "keep-alive", "transfer-encoding", "content-length", "server", "set-cookie",
                             "access-control-allow-origin"}) {
      if (same_name(header.name, name)) return true;
    }
    return false;
  });
  headers.push_back({"X-Content-Type-Options", "nosniff"});
  return headers;
}

}  // namespace

bool find_model_name(std::string_view json, std::string& model) {
  ModelFinder finder;
  if (!nlohmann::json::sax_parse(json.begin(), json.end(), &finder) || !finder.object) return false;
  model = finder.model;
  return true;
}

Response openai_error(int status, const std::string& message, const std::string& type, const std::string& code) {
  return json_response(status, {{"error", {{"message", message}, {"type", type}, {"param", nullptr}, {"code", code}}}});
}

absl::StatusOr<std::vector<ServedDeployment>> OpenAiGateway::visible(const RequestHead& head) {
  const service::Credentials credentials = credentials_of(head);
  std::string only;
  if (absl::StartsWith(credentials.bearer, "slk_")) {
    auto deployment = keys_.find_deployment(credentials.bearer);
    if (!deployment.ok()) return deployment.status();
    only = *std::move(deployment);
  } else {
    const auto caller = auth_.identify(credentials);
    if (!caller.ok()) return caller.status();
    if (caller->kind != service::Caller::Kind::kUser) {
      return base::error(absl::StatusCode::kUnauthenticated, "there is no key",
                         {"NOT_SIGNED_IN", "", "send 'Authorization: Bearer' with a deployment's key or an API token"});
    }
  }
  auto deployments = models_.list_served();
  if (!deployments.ok() || only.empty()) return deployments;
  std::erase_if(*deployments, [&](const ServedDeployment& deployment) { return deployment.id != only; });
  return deployments;
}

void OpenAiGateway::handle(const ExchangePointer& exchange) {
  const RequestHead& head = exchange->head();
  if (head.method == "GET" && (head.path == "/v1/models" || absl::StartsWith(head.path, "/v1/models/"))) {
    boost::asio::post(workers_, [this, exchange] { list_models(exchange); });
    return;
  }
  if (head.method != "POST") {
    return exchange->respond(openai_error(405, "POST a JSON object here", kInvalidRequest, "method_not_allowed"));
  }
  // What changes a replica, as loading adapters, goes through the deployment instead.
  if (std::find(std::begin(kForwarded), std::end(kForwarded), head.path) == std::end(kForwarded)) {
    return exchange->respond(
        openai_error(404, "there is nothing at " + head.path.substr(0, 200), kInvalidRequest, "not_found"));
  }
  exchange->read_body(kMaxBodyBytes, [this, exchange](std::string body) {
    boost::asio::post(workers_,
                      [this, exchange, body = std::move(body)]() mutable { forward(exchange, std::move(body)); });
  });
}

void OpenAiGateway::list_models(const ExchangePointer& exchange) {
  const auto deployments = visible(exchange->head());
  if (!deployments.ok()) return answer(exchange, of_status(deployments.status()));
  constexpr std::string_view kOne = "/v1/models/";
  if (exchange->head().path.size() > kOne.size()) {
    std::string name;
    percent_decode(std::string_view(exchange->head().path).substr(kOne.size()), name);
    const ServedDeployment* deployment = find_named(*deployments, name);
    if (deployment != nullptr && deployment->state == ServedDeployment::State::kReady) {
      return answer(exchange, json_response(200, model_object(*deployment, name)));
    }
    return answer(exchange,
                  openai_error(404, "there is no model '" + name.substr(0, 200) + "'; " + ready_names(*deployments),
                               kInvalidRequest, "model_not_found"));
  }
  ordered_json list = ordered_json::array();
  for (const ServedDeployment& deployment : *deployments) {
    if (deployment.state != ServedDeployment::State::kReady) continue;
    for (const std::string& name : deployment.served_names) list.push_back(model_object(deployment, name));
  }
  answer(exchange, json_response(200, {{"object", "list"}, {"data", list}}));
}

void OpenAiGateway::forward(const ExchangePointer& exchange, std::string body) {
  const auto deployments = visible(exchange->head());
  if (!deployments.ok()) return answer(exchange, of_status(deployments.status()));
  std::string model;
  if (!find_model_name(body, model)) {
    return answer(exchange, openai_error(400, "the request is no JSON object", kInvalidRequest, "invalid_json"));
  }
  if (model.empty()) {
    return answer(exchange, openai_error(400, "the request names no 'model'; " + ready_names(*deployments),
                                         kInvalidRequest, "model_missing"));
  }
  const ServedDeployment* deployment = find_named(*deployments, model);
  if (deployment == nullptr) {
    return answer(exchange,
                  openai_error(404, "there is no model '" + model.substr(0, 200) + "'; " + ready_names(*deployments),
                               kInvalidRequest, "model_not_found"));
  }
  if (deployment->state == ServedDeployment::State::kUnavailable) {
    return answer(exchange, openai_error(404,
                                         "deployment '" + deployment->name + "' is not running" +
                                             (deployment->reason.empty() ? "" : " (" + deployment->reason + ")") +
                                             "; " + ready_names(*deployments),
                                         kInvalidRequest, "model_not_found"));
  }
  if (deployment->state == ServedDeployment::State::kStarting || deployment->address.empty()) {
    Response response = openai_error(503,
                                     "deployment '" + deployment->name + "' is starting" +
                                         (deployment->reason.empty() ? "" : " (" + deployment->reason + ")"),
                                     "server_error", "model_starting");
    response.headers.push_back({"Retry-After", "2"});
    return answer(exchange, std::move(response));
  }
  models_.called(model);
  exchange->resume([this, exchange, address = deployment->address, body = std::move(body)]() mutable {
    pass_on(exchange, address, std::move(body));
  });
}

void OpenAiGateway::pass_on(const ExchangePointer& exchange, const std::string& address, std::string body) {
  if (exchange->closed()) return;
  const RequestHead& head = exchange->head();
  UpstreamRequest request{address, head.method, head.path, forwarded_headers(head), std::move(body)};
  if (!head.query.empty()) request.target += "?" + head.query;
  UpstreamEvents events;
  events.head = [exchange](int status, std::vector<Header> headers, int64_t length, std::function<void()> next) {
    exchange->begin(status, returned_headers(std::move(headers)), length);
    next();
  };
  events.piece = [exchange](std::string piece, std::function<void()> next) {
    exchange->write(std::move(piece), std::move(next));
  };
  events.end = [exchange] { exchange->end(); };
  events.failed = [exchange](const std::string& what, bool before_head) {
    if (!before_head) return exchange->abort();
    Response response =
        openai_error(503, "the deployment's replica does not answer: " + what, "server_error", "replica_unreachable");
    response.headers.push_back({"Retry-After", "2"});
    exchange->respond(std::move(response));
  };
  const auto upstream = start_upstream(io_, std::move(request), std::move(events));
  exchange->on_closed([upstream] { upstream->cancel(); });
}

}  // namespace slipway::web
