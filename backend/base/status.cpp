#include "backend/base/status.h"

#include <nlohmann/json.hpp>

#include "absl/strings/cord.h"

namespace slipway::base {
namespace {
constexpr char kPayloadUrl[] = "slipway/error-detail";
}  // namespace

absl::Status error(absl::StatusCode code, const std::string& message, const ErrorDetail& detail) {
  absl::Status status(code, message);
  nlohmann::json payload = {{"reason", detail.reason}, {"field", detail.field}, {"advice", detail.advice}};
  for (const FieldViolation& violation : detail.violations) {
    payload["violations"].push_back(
        {{"field", violation.field}, {"message", violation.message}, {"advice", violation.advice}});
  }
  status.SetPayload(kPayloadUrl, absl::Cord(payload.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)));
  return status;
}

absl::Status invalid_argument(const std::string& field, const std::string& message, const std::string& advice) {
  return error(absl::StatusCode::kInvalidArgument, message, {"INVALID_ARGUMENT", field, advice});
}

absl::Status invalid_arguments(const std::vector<FieldViolation>& violations) {
  const FieldViolation& first = violations.front();
  std::string message = first.field + ": " + first.message;
  if (violations.size() > 1) message += " (and " + std::to_string(violations.size() - 1) + " more)";
  return error(absl::StatusCode::kInvalidArgument, message,
               {"INVALID_ARGUMENT", first.field, first.advice, violations});
}

absl::Status not_found(const std::string& kind, const std::string& id) {
  return error(absl::StatusCode::kNotFound, kind + " '" + id + "' does not exist",
               {"NOT_FOUND", "", "list what there is, or check the spelling"});
}

absl::Status already_exists(const std::string& kind, const std::string& id, const std::string& advice) {
  return error(absl::StatusCode::kAlreadyExists, kind + " '" + id + "' exists already", {"ALREADY_EXISTS", "", advice});
}

absl::Status failed_precondition(const std::string& reason, const std::string& message, const std::string& advice) {
  return error(absl::StatusCode::kFailedPrecondition, message, {reason, "", advice});
}

ErrorDetail detail_of(const absl::Status& status) {
  const auto payload = status.GetPayload(kPayloadUrl);
  if (!payload) return {};
  const auto parsed = nlohmann::json::parse(std::string(*payload), nullptr, false);
  if (!parsed.is_object()) return {};
  ErrorDetail detail{parsed.value("reason", ""), parsed.value("field", ""), parsed.value("advice", "")};
  for (const auto& violation : parsed.value("violations", nlohmann::json::array())) {
    detail.violations.push_back(
        {violation.value("field", ""), violation.value("message", ""), violation.value("advice", "")});
  }
  return detail;
}

}  // namespace slipway::base
