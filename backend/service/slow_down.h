// Makes guessing slow: after a few failures under one name, further tries must wait, ever longer. Any thread.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "backend/base/clock.h"

namespace slipway::service {

class SlowDown {
 public:
  explicit SlowDown(const base::Clock& clock) : clock_(clock) {}

  // RESOURCE_EXHAUSTED with the seconds to wait when it is too early for another try.
  absl::Status check(const std::string& name);
  void failed(const std::string& name);
  void succeeded(const std::string& name);

 private:
  struct Failures {
    int count = 0;
    int64_t next_try_ms = 0;
  };
  const base::Clock& clock_;
  std::mutex mutex_;
  std::map<std::string, Failures> names_;
};

}  // namespace slipway::service
