// How sign-in recognises nodes. Implemented by the nodes' service, called by Auth.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace slipway::service {

class NodeTokens {
 public:
  virtual ~NodeTokens() = default;
  // The id of the node whose token (sln_…) has this SHA-256 (hex); nullopt when there is none.
  virtual absl::StatusOr<std::optional<std::string>> find_node(const std::string& token_sha256) = 0;
};

}  // namespace slipway::service
