// What an engine's events look like in its log: one line each, for people. Without the time: who keeps a log
// stamps its lines. Used by EventWriter.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace slipway::spec {

class LogLines {
 public:
  // The line (no '\n') for an event of the contract's shape that was written at `now_ms`. Empty for what a log can do
  // without: heartbeats, and progress that comes within five seconds of the line of progress before it, unless it is
  // complete.
  std::string line_of(const nlohmann::ordered_json& event, int64_t now_ms);

 private:
  int64_t last_progress_ms_ = 0;
  std::string last_phase_;
};

}  // namespace slipway::spec
