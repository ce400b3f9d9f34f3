// Time as a dependency: whoever needs it takes a Clock, and tests pass a FakeClock.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace slipway::base {

class Clock {
 public:
  virtual ~Clock() = default;
  // Milliseconds since 1970-01-01 UTC. Any thread.
  virtual int64_t now_ms() const = 0;
};

class SystemClock : public Clock {
 public:
  int64_t now_ms() const override;
};

class FakeClock : public Clock {
 public:
  explicit FakeClock(int64_t start_ms = 1'700'000'000'000) : now_ms_(start_ms) {}
  int64_t now_ms() const override { return now_ms_; }
  void advance_ms(int64_t milliseconds) { now_ms_ += milliseconds; }

 private:
  std::atomic<int64_t> now_ms_;
};

// RFC 3339 in UTC with milliseconds: 2026-01-31T12:00:00.000Z.
std::string format_rfc3339(int64_t unix_ms);

// The reverse; -1 when the text is not such a time.
int64_t parse_rfc3339(const std::string& text);

}  // namespace slipway::base
