// What the gateway to deployments asks for each call under /v1/. Implemented by the deployments' service.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace slipway::service {

struct ServedDeployment {
  enum class State {
    kReady,
    kStarting,    // queued or starting: worth trying again soon
    kUnavailable  // stopped, stopping or failed
  };
  std::string id;
  std::string name;
  State state = State::kUnavailable;
  // What calls may give as `model`. The replica knows them by the same names.
  std::vector<std::string> served_names;
  // HOST:PORT of a ready replica; empty otherwise.
  std::string address;
  // Why it is not ready, in words.
  std::string reason;
  int64_t created_at_ms = 0;
};

class ServedModels {
 public:
  virtual ~ServedModels() = default;
  // All deployments, whatever their state. Called on a worker for each request: one indexed read.
  virtual absl::StatusOr<std::vector<ServedDeployment>> list_served() = 0;
  // This name was called now.
  virtual void called(const std::string& model) = 0;
};

}  // namespace slipway::service
