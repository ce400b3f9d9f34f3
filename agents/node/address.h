// Where other nodes reach this one: for the ranks of a gang. Used by main.cpp and Attempt.
#pragma once

#include <cstdint>
#include <string>

namespace slipway::node {

// The address of this machine that faces `backend` (HOST:PORT); 127.0.0.1 when the backend is on this machine, or its
// name is not known now.
std::string address_towards(const std::string& backend);

// A TCP port that nobody listens on now. Throws base::Error.
uint16_t free_port();

}  // namespace slipway::node
