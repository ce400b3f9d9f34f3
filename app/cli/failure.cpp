#include "app/cli/failure.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "slipway/v1/error.pb.h"

namespace slipway::cli {
namespace {

Exit exit_of(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::OUT_OF_RANGE:
      return Exit::kUsage;
    case grpc::StatusCode::UNAUTHENTICATED:
      return Exit::kNotSignedIn;
    case grpc::StatusCode::NOT_FOUND:
      return Exit::kNotFound;
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return Exit::kUnavailable;
    case grpc::StatusCode::FAILED_PRECONDITION:
    case grpc::StatusCode::ALREADY_EXISTS:
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return Exit::kRefused;
    default:
      return Exit::kFailed;
  }
}

}  // namespace

Failure::Failure(Exit exit, const std::string& message, std::string advice, std::string field, std::string reason)
    : std::runtime_error(message),
      exit_(exit),
      reason_(std::move(reason)),
      field_(std::move(field)),
      advice_(std::move(advice)) {}

Failure Failure::from(const grpc::Status& status, const std::string& address) {
  v1::Status details;
  v1::ErrorDetail detail;
  if (details.ParseFromString(status.error_details())) {
    for (const auto& any : details.details()) {
      if (any.Is<v1::ErrorDetail>()) any.UnpackTo(&detail);
    }
  }
  std::string message = status.error_message();
  std::string advice = detail.advice();
  if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED) {
    message = "the backend at " + address + " does not know this call" + (message.empty() ? "" : " (" + message + ")");
    if (advice.empty()) advice = "use a slipway of the backend's version";
  } else if (message.empty()) {
    message = "the backend at " + address + " answered an error without a message (code " +
              std::to_string(status.error_code()) + ")";
  }
  if (advice.empty()) {
    if (status.error_code() == grpc::StatusCode::UNAVAILABLE) {
      message = "no backend answers at " + address + " (" + message + ")";
      advice = "start one with: slipway up; or name another with --backend HOST:PORT";
    } else if (status.error_code() == grpc::StatusCode::UNAUTHENTICATED) {
      advice = "sign in with: slipway login";
    }
  }
  Failure failure(exit_of(status.error_code()), message, advice, detail.field(), detail.reason());
  for (const auto& violation : detail.violations()) {
    failure.violations_.push_back({violation.field(), violation.message(), violation.advice()});
  }
  return failure;
}

std::string Failure::text() const {
  const auto flag = [](const std::string& field) {
    // What the API calls parameters.max_steps is a flag here.
    static const std::string kPrefix = "parameters.";
    if (field.rfind(kPrefix, 0) != 0) return field;
    std::string name = "--" + field.substr(kPrefix.size());
    for (char& c : name) {
      if (c == '_') c = '-';
    }
    return name;
  };
  std::string text = "slipway: error: " + std::string(what());
  if (!field_.empty() && violations_.empty()) text += "\n  at: " + flag(field_);
  for (const auto& violation : violations_) {
    text += "\n  " + flag(violation.field) + ": " + violation.message;
    if (!violation.advice.empty()) text += " (" + violation.advice + ")";
  }
  if (!advice_.empty()) text += "\n  to do: " + advice_;
  if (!reason_.empty()) text += "\n  code: " + reason_;
  return text;
}

std::string Failure::json() const {
  nlohmann::ordered_json error = {{"code", reason_}, {"message", what()}, {"field", field_}, {"advice", advice_}};
  error["violations"] = nlohmann::ordered_json::array();
  for (const auto& violation : violations_) {
    error["violations"].push_back(
        {{"field", violation.field}, {"message", violation.message}, {"advice", violation.advice}});
  }
  error["exit"] = static_cast<int>(exit_);
  return nlohmann::ordered_json{{"error", error}}.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace slipway::cli
