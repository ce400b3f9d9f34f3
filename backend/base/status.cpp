#include "backend/base/status.h"

#include <nlohmann/json.hpp>

#include "absl/strings/cord.h"

namespace slipway::base {
namespace {
constexpr char kPayloadUrl[] = "slipway/error-detail";
}  // namespace

std::string printable_utf8(const std::string& text) {
  std::string result;
  result.reserve(text.size());
  size_t i = 0;
  while (i < text.size()) {
    const auto lead = static_cast<unsigned char>(text[i]);
    size_t length = lead < 0x80                    ? 1
                    : lead >= 0xC2 && lead <= 0xDF ? 2
                    : (lead & 0xF0U) == 0xE0       ? 3
                    : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                   : 0;
    bool valid = length != 0 && i + length <= text.size();
    for (size_t k = 1; valid && k < length; ++k) valid = (static_cast<unsigned char>(text[i + k]) & 0xC0U) == 0x80;
    if (valid && length > 2) {
      // Overlong forms, surrogates, and what lies beyond U+10FFFF.
      const auto second = static_cast<unsigned char>(text[i + 1]);
      valid = !(lead == 0xE0 && second < 0xA0) && !(lead == 0xED && second > 0x9F) &&
              !(lead == 0xF0 && second < 0x90) && !(lead == 0xF4 && second > 0x8F);
    }
    if (valid) {
      result.append(text, i, length);
      i += length;
    } else {
      result += '?';
      ++i;
    }
  }
  return result;
}

absl::Status error(absl::StatusCode code, const std::string& message, const ErrorDetail& detail) {
  absl::Status status(code, printable_utf8(message));
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
