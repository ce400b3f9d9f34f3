#include "backend/web/connect_protocol.h"

#include <google/protobuf/util/json_util.h>

#include <charconv>
#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "backend/base/status.h"
#include "slipway/v1/error.pb.h"

namespace slipway::web {
namespace {

using grpc::StatusCode;
using nlohmann::ordered_json;

ordered_json error_value(const grpc::Status& status) {
  ordered_json error = {{"code", connect_code(status.error_code())}, {"message", status.error_message()}};
  v1::Status details;
  if (!details.ParseFromString(status.error_details()) || details.details().empty()) return error;
  ordered_json list = ordered_json::array();
  for (const google::protobuf::Any& any : details.details()) {
    const std::string& url = any.type_url();
    ordered_json detail = {{"type", url.substr(url.rfind('/') + 1)}};
    std::string value = absl::Base64Escape(any.value());
    while (!value.empty() && value.back() == '=') value.pop_back();
    detail["value"] = value;
    v1::ErrorDetail known;
    std::string debug;
    if (any.UnpackTo(&known) && google::protobuf::util::MessageToJsonString(known, &debug).ok()) {
      detail["debug"] = ordered_json::parse(debug, nullptr, false);
    }
    list.push_back(std::move(detail));
  }
  error["details"] = std::move(list);
  return error;
}

std::string dump(const ordered_json& value) {
  return value.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace

const char* connect_code(StatusCode code) {
  switch (code) {
    case StatusCode::CANCELLED:
      return "canceled";
    case StatusCode::INVALID_ARGUMENT:
      return "invalid_argument";
    case StatusCode::DEADLINE_EXCEEDED:
      return "deadline_exceeded";
    case StatusCode::NOT_FOUND:
      return "not_found";
    case StatusCode::ALREADY_EXISTS:
      return "already_exists";
    case StatusCode::PERMISSION_DENIED:
      return "permission_denied";
    case StatusCode::RESOURCE_EXHAUSTED:
      return "resource_exhausted";
    case StatusCode::FAILED_PRECONDITION:
      return "failed_precondition";
    case StatusCode::ABORTED:
      return "aborted";
    case StatusCode::OUT_OF_RANGE:
      return "out_of_range";
    case StatusCode::UNIMPLEMENTED:
      return "unimplemented";
    case StatusCode::INTERNAL:
      return "internal";
    case StatusCode::UNAVAILABLE:
      return "unavailable";
    case StatusCode::DATA_LOSS:
      return "data_loss";
    case StatusCode::UNAUTHENTICATED:
      return "unauthenticated";
    default:
      return "unknown";
  }
}

int http_status_of(StatusCode code) {
  switch (code) {
    case StatusCode::OK:
      return 200;
    case StatusCode::CANCELLED:
      return 499;
    case StatusCode::INVALID_ARGUMENT:
    case StatusCode::FAILED_PRECONDITION:
    case StatusCode::OUT_OF_RANGE:
      return 400;
    case StatusCode::DEADLINE_EXCEEDED:
      return 504;
    case StatusCode::NOT_FOUND:
      return 404;
    case StatusCode::ALREADY_EXISTS:
    case StatusCode::ABORTED:
      return 409;
    case StatusCode::PERMISSION_DENIED:
      return 403;
    case StatusCode::RESOURCE_EXHAUSTED:
      return 429;
    case StatusCode::UNIMPLEMENTED:
      return 501;
    case StatusCode::UNAVAILABLE:
      return 503;
    case StatusCode::UNAUTHENTICATED:
      return 401;
    default:
      return 500;
  }
}

std::string connect_error_json(const grpc::Status& status) { return dump(error_value(status)); }

std::string envelope(unsigned char flags, std::string_view payload) {
  std::string text(5, '\0');
  text[0] = static_cast<char>(flags);
  const auto size = static_cast<uint32_t>(payload.size());
  for (size_t i = 0; i < 4; ++i) text[1 + i] = static_cast<char>((size >> (24U - 8U * i)) & 0xFFU);
  text += payload;
  return text;
}

grpc::Status open_envelope(std::string_view body, std::string_view& payload) {
  const auto refused = [](const std::string& why) {
    return gateway_error(StatusCode::INVALID_ARGUMENT, why, "INVALID_ENVELOPE",
                         "send one message: a zero byte, four bytes of length (big end first), then the JSON");
  };
  if (body.size() < 5) return refused("the request holds no whole envelope");
  const auto flags = static_cast<unsigned char>(body[0]);
  if ((flags & 1U) != 0) return refused("compressed messages are not supported");
  if (flags != 0) return refused("the envelope has unknown flags");
  size_t size = 0;
  for (size_t i = 1; i <= 4; ++i) size = size << 8U | static_cast<unsigned char>(body[i]);
  if (size != body.size() - 5) return refused("the envelope's length is not that of the message after it");
  payload = body.substr(5);
  return grpc::Status::OK;
}

std::string end_of_stream_json(const grpc::Status& status) {
  if (status.ok()) return "{}";
  return dump({{"error", error_value(status)}});
}

grpc::Status parse_timeout(std::string_view header, std::optional<int64_t>& timeout_ms) {
  timeout_ms.reset();
  if (header.empty()) return grpc::Status::OK;
  int64_t value = 0;
  const char* end = header.data() + header.size();
  const auto [stopped, error] = std::from_chars(header.data(), end, value);
  if (header.size() > 10 || error != std::errc() || stopped != end || value < 0) {
    return gateway_error(StatusCode::INVALID_ARGUMENT, "connect-timeout-ms is no number of milliseconds",
                         "INVALID_TIMEOUT", "send up to 10 digits, or leave the header out");
  }
  timeout_ms = value;
  return grpc::Status::OK;
}

grpc::Status gateway_error(StatusCode code, const std::string& text, const std::string& reason,
                           const std::string& advice) {
  const std::string message = base::printable_utf8(text);
  v1::ErrorDetail detail;
  detail.set_reason(reason);
  detail.set_advice(advice);
  v1::Status details;
  details.set_code(code);
  details.set_message(message);
  details.add_details()->PackFrom(detail);
  return {code, message, details.SerializeAsString()};
}

}  // namespace slipway::web
