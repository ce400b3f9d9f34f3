// What an attempt knows of the connection to the backend: it can send, within one session. Session implements it; tests
// fake it.
#pragma once

#include <cstdint>

namespace slipway::v1 {
class AgentMessage;
}

namespace slipway::node {

class BackendLink {
 public:
  virtual ~BackendLink() = default;
  // Queues a message of session `session` (the number that the attempt's welcome named). False when that session is
  // over: what was sent in it and not acknowledged has to be sent again in the next one. Any thread; never blocks.
  virtual bool send(uint64_t session, v1::AgentMessage message) = 0;
};

}  // namespace slipway::node
