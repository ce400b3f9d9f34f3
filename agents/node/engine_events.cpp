#include "agents/node/engine_events.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "agents/engine/spec/events.h"
#include "agents/node/file_tail.h"

namespace slipway::node {

EngineSummary summarize_events(const std::filesystem::path& events, int64_t since) {
  EngineSummary summary;
  spec::LineTail tail(events, 0);
  while (true) {
    int64_t position = tail.offset();
    const auto lines = tail.read();
    if (lines.empty()) return summary;
    for (const auto& line : lines) {
      const int64_t start = position;
      position += static_cast<int64_t>(line.size()) + 1;
      // Most lines are metrics and progress: only those that can matter are parsed.
      const bool candidate =
          line.find("\"artifact\"") != std::string::npos || line.find("\"finished\"") != std::string::npos ||
          line.find("\"started\"") != std::string::npos || line.find("\"error\"") != std::string::npos;
      if (!candidate) continue;
      const auto event = nlohmann::json::parse(line, nullptr, false);
      if (!event.is_object() || !event.contains("type") || !event["type"].is_string()) continue;
      const auto text = [&](const char* key) {
        const auto found = event.find(key);
        return found != event.end() && found->is_string() ? found->get<std::string>() : std::string();
      };
      const std::string type = text("type");
      if (type == "artifact") summary.artifacts[text("name")] = text("path");
      if (type == "started") summary.finished.clear();
      if (type == "finished") summary.finished = text("status");
      if (type == "error" && start >= since) summary.error_since = true;
    }
  }
}

std::string last_line(const std::filesystem::path& log, int64_t since) {
  std::error_code failure;
  const auto size = std::filesystem::file_size(log, failure);
  if (failure) return "";
  std::string found;
  spec::LineTail tail(log, std::max(since, static_cast<int64_t>(size) - 65536));
  while (true) {
    const auto lines = tail.read();
    if (lines.empty()) return to_valid_utf8(found.substr(0, 500));
    for (const auto& line : lines) {
      if (line.find_first_not_of(" \t\r") != std::string::npos) found = line;
    }
  }
}

}  // namespace slipway::node
