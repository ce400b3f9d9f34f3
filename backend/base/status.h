// absl::Status with the three things every API error carries: a reason code, the field, and the advice.
// Used by backend and agent; rpc/ turns it into gRPC status details.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace slipway::base {

// One of several things wrong with a request.
struct FieldViolation {
  std::string field;  // parameters.learning_rate
  std::string message;
  std::string advice;
};

struct ErrorDetail {
  std::string reason;  // UPPER_SNAKE, stable, to search for
  std::string field;   // path of the request field at fault; empty if none
  std::string advice;  // what to do about it
  std::vector<FieldViolation> violations = {};
};

// A status of `code` that says what happened, to which thing, and carries `detail`.
absl::Status error(absl::StatusCode code, const std::string& message, const ErrorDetail& detail = {});

absl::Status invalid_argument(const std::string& field, const std::string& message, const std::string& advice = "");
// All that is wrong at once. The message names the first and says how many there are. `violations` is not empty.
absl::Status invalid_arguments(const std::vector<FieldViolation>& violations);
absl::Status not_found(const std::string& kind, const std::string& id);
absl::Status already_exists(const std::string& kind, const std::string& id, const std::string& advice = "");
absl::Status failed_precondition(const std::string& reason, const std::string& message, const std::string& advice);

// `text` with every byte that is no part of valid UTF-8 replaced by '?'. `error` does it to its message, because
// protobuf and JSON refuse other text, and messages quote what strangers sent.
std::string printable_utf8(const std::string& text);

// What `error` put in, or empty strings.
ErrorDetail detail_of(const absl::Status& status);

}  // namespace slipway::base
