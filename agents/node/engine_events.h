// What the agent itself wants to know from an engine's events.jsonl: everything else it hands on unread. One thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

namespace slipway::node {

struct EngineSummary {
  std::map<std::string, std::string> artifacts;  // name -> path in the work folder; the latest event counts
  std::string finished;                          // status of a last `finished` event: succeeded, failed, stopped
  bool error_since = false;                      // an error event at or after `since`
};

// Reads the whole file; lines that are not events are passed over. `since`: byte offset where the attempt began.
EngineSummary summarize_events(const std::filesystem::path& events, int64_t since);

// The last line of a log that is not blank, at most 500 bytes, or empty.
std::string last_line(const std::filesystem::path& log, int64_t since);

}  // namespace slipway::node
