#include "agents/engine/spec/log_lines.h"

#include <array>
#include <cmath>
#include <cstdio>

namespace slipway::spec {
namespace {

using nlohmann::ordered_json;

constexpr int64_t kProgressEveryMs = 5000;

std::string number(double value, const char* format) {
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), format, value);
  return text.data();
}

std::string text_of(const ordered_json& event, const char* name) {
  const auto found = event.find(name);
  if (found == event.end()) return {};
  return found->is_string() ? found->get<std::string>() : found->dump();
}

// 141.2 -> 2 min 21 s
std::string duration(double seconds) {
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 60) return std::to_string(whole) + " s";
  if (whole < 3600) return std::to_string(whole / 60) + " min " + std::to_string(whole % 60) + " s";
  return std::to_string(whole / 3600) + " h " + std::to_string(whole / 60 % 60) + " min";
}

std::string progress_text(const ordered_json& event) {
  std::string text = text_of(event, "phase") + ": " + text_of(event, "done") + " of " + text_of(event, "total") + " " +
                     text_of(event, "unit");
  if (event.contains("eta_s") && event["done"] != event["total"])
    text += ", " + duration(event["eta_s"].get<double>()) + " left";
  return text;
}

std::string metric_text(const ordered_json& event) {
  std::string text = "step " + text_of(event, "step") + ":";
  const char* separator = " ";
  for (const auto& [name, value] : event["values"].items()) {
    text += separator;
    if (name.ends_with("_bytes")) {
      text += name.substr(0, name.size() - 6) + " " + number(value.get<double>() / (1 << 20), "%.0f MiB");
    } else {
      text += name + " " + (value.is_number_integer() ? value.dump() : number(value.get<double>(), "%.6g"));
    }
    separator = ", ";
  }
  return text;
}

std::string with_advice(const std::string& level, const ordered_json& event) {
  const std::string advice = text_of(event, "advice");
  return level + " " + text_of(event, "code") + ": " + text_of(event, "message") +
         (advice.empty() ? "" : " -> " + advice);
}

std::string describe(const ordered_json& event, const std::string& type) {
  if (type == "started") {
    return text_of(event, "engine") + " " + text_of(event, "version") + " started, pid " + text_of(event, "pid");
  }
  if (type == "phase") return text_of(event, "name") + ": " + text_of(event, "state");
  if (type == "progress") return progress_text(event);
  if (type == "metric") return metric_text(event);
  if (type == "checkpoint") return "checkpoint of step " + text_of(event, "step") + ": " + text_of(event, "path");
  if (type == "artifact") return "wrote " + text_of(event, "name") + ": " + text_of(event, "path");
  if (type == "ready") return "ready: " + text_of(event, "url");
  if (type == "warning" || type == "error") return with_advice(type, event);
  if (type == "finished") return "finished: " + text_of(event, "status");
  return {};
}

}  // namespace

std::string LogLines::line_of(const ordered_json& event, int64_t now_ms) {
  const std::string type = text_of(event, "type");
  if (type == "progress") {
    const std::string phase = text_of(event, "phase");
    const bool complete = event["done"] == event["total"];
    if (phase == last_phase_ && !complete && now_ms - last_progress_ms_ < kProgressEveryMs) return {};
    last_phase_ = phase;
    last_progress_ms_ = now_ms;
  }
  std::string text = describe(event, type);
  if (text.empty()) return {};
  for (char& c : text) {
    if (c == '\n' || c == '\r') c = ' ';  // an event is one line
  }
  return text;
}

}  // namespace slipway::spec
