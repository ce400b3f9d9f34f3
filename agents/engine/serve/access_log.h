// The access log: one line per request on stdout, which the agent keeps as stdout.log. No prompts, no answers, no
// query.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "agents/engine/serve/http_server.h"

namespace slipway::serve {

// "2026-01-31T12:00:00.000Z request id=… method=POST path=/v1/chat/completions status=200 …": one line with its end.
std::string access_line(const AccessRecord& record, int64_t now_ms);

// Writes lines to a file descriptor, one write each. A reader that does not keep up loses lines instead of holding the
// server up. One thread.
class AccessLog {
 public:
  explicit AccessLog(int fd) : fd_(fd) {}
  void write(const std::string& line);
  int64_t lost() const { return lost_; }

 private:
  int fd_;
  int64_t lost_ = 0;
};

}  // namespace slipway::serve
