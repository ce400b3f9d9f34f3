// The one way a command fails: what happened, to which field, what to do, and the exit status. Thrown by all, shown by
// main.
#pragma once

#include <grpcpp/support/status.h>

#include <stdexcept>
#include <string>
#include <vector>

namespace slipway::cli {

// Documented in `slipway --help`; programs may rely on them.
enum class Exit {
  kOk = 0,
  kFailed = 1,       // the command, or the run that it watched, failed
  kUsage = 2,        // flags or values are wrong
  kNotSignedIn = 3,  // no token, or one that is not taken
  kNotFound = 4,
  kUnavailable = 5,  // no backend answers
  kRefused = 6,      // the state of things forbids it: it exists already, is in use, is not allowed
  kCancelled = 7,    // the run that was watched was cancelled
};

struct Violation {
  std::string field, message, advice;
};

class Failure : public std::runtime_error {
 public:
  Failure(Exit exit, const std::string& message, std::string advice = "", std::string field = "",
          std::string reason = "");

  // What a call answered, with the details that every error of the backend carries. `address` for "does not answer".
  static Failure from(const grpc::Status& status, const std::string& address);

  Exit exit() const { return exit_; }
  const std::string& reason() const { return reason_; }
  const std::string& field() const { return field_; }
  const std::string& advice() const { return advice_; }
  const std::vector<Violation>& violations() const { return violations_; }

  // For people: several lines, the first starting with "slipway: error: ".
  std::string text() const;
  // For programs: {"error": {"code", "message", "field", "advice", "violations"}}.
  std::string json() const;

 private:
  Exit exit_;
  std::string reason_, field_, advice_;
  std::vector<Violation> violations_;
};

}  // namespace slipway::cli
