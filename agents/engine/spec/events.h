// Events: what an engine appends to WORKDIR/events.jsonl, and how the agent reads them back.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "agents/engine/spec/log_lines.h"
#include "backend/base/clock.h"

namespace slipway::spec {

// Appends events, and puts a readable line for each into the log. Any thread. Each event is one write(2) of one whole
// line, so a crash can cut at most the last line; opening the file again drops such a cut line and goes on counting
// `seq` where the file ends. Throws base::Error.
class EventWriter {
 public:
  // `log`: the stream for the readable lines, the engine's stdout; null: none. What cannot be written there is lost.
  EventWriter(const std::filesystem::path& workdir, const base::Clock& clock, std::FILE* log = nullptr);
  ~EventWriter();
  EventWriter(const EventWriter&) = delete;
  EventWriter& operator=(const EventWriter&) = delete;

  void started(const std::string& engine);
  void phase(const std::string& name, const std::string& state);  // state: begin, end
  void progress(const std::string& phase, int64_t done, int64_t total, const std::string& unit, double eta_s);
  void metric(int64_t step, const nlohmann::ordered_json& values);  // numbers only; NaN and infinity are left out
  void checkpoint(int64_t step, const std::string& path, const std::string& sha256);
  void artifact(const std::string& name, const std::string& path);  // path relative to the workdir
  void ready(const std::string& url);
  void heartbeat(int64_t step);
  void warning(const std::string& code, const std::string& message, const std::string& advice);
  void error(const std::string& code, const std::string& message, const std::string& advice);
  void finished(const std::string& status);  // succeeded, failed, stopped

  // True when an earlier process on this workdir wrote finished/succeeded.
  bool already_succeeded() const { return already_succeeded_; }

 private:
  void append(const std::string& type, nlohmann::ordered_json fields);

  const base::Clock& clock_;
  std::mutex mutex_;
  std::FILE* const log_;
  LogLines log_lines_;
  int fd_ = -1;
  int64_t last_seq_ = 0;
  bool already_succeeded_ = false;
};

// Whole lines of a growing file from a byte offset on: for events and logs. One thread.
class LineTail {
 public:
  LineTail(std::filesystem::path path, int64_t offset);

  // Up to max_bytes of whole lines (without '\n') that have come since; a last line without '\n' waits for its end.
  // A missing file is an empty one. A line over max_bytes is cut there.
  std::vector<std::string> read(size_t max_bytes = 1 << 20);

  // The offset just after the last line returned.
  int64_t offset() const { return offset_; }

 private:
  std::filesystem::path path_;
  int64_t offset_;
};

}  // namespace slipway::spec
