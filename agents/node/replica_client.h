// HTTP calls to a serving engine on this machine: its metrics, its adapters. Replicas uses it.
#pragma once

#include <chrono>
#include <string>

#include "absl/status/statusor.h"

namespace slipway::node {

struct HttpAnswer {
  int status = 0;
  std::string body;
};

// url: http://ADDRESS:PORT with a numeric address, as an engine's ready event says it. Blocks for `timeout` at most.
// Any thread.
absl::StatusOr<HttpAnswer> call_replica(const std::string& url, const std::string& method, const std::string& path,
                                        const std::string& body, std::chrono::milliseconds timeout);

}  // namespace slipway::node
