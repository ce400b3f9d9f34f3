// Milliseconds of a clock that never goes back, for patience and intervals.
#pragma once

#include <chrono>
#include <cstdint>

namespace slipway::node {

inline int64_t steady_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace slipway::node
