// Identifiers and secrets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace slipway::base {

// `prefix-` and 26 characters of Crockford base 32: 48 bits of time, then 80 random bits (the ULID layout), in
// lower case. Sorts by time of making: within a millisecond an id is the one before it and one. Any thread.
std::string new_id(const std::string& prefix, int64_t now_ms);

// `bytes` random bytes from the kernel as URL-safe base 64 without padding: for tokens and keys.
std::string random_secret(size_t bytes = 32);

}  // namespace slipway::base
