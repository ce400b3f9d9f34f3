// What of an attempt outlives the agent: DATA/attempts/ID/start.json (what the backend asked for) and state.json
// (how far it has come). Written by the attempt's own thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "slipway/v1/agent.pb.h"

namespace slipway::node {

// kWaiting: of a gang, until its other ranks are prepared too.
enum class Phase { kPreparing, kWaiting, kRunning, kUploading, kEnded };

struct FilePosition {
  int64_t begin = 0;         // size of the file when this attempt began
  int64_t acknowledged = 0;  // bytes from there on that the backend has
};

struct AttemptRecord {
  v1::StartAttempt start;
  Phase phase = Phase::kPreparing;
  int launches = 0;              // the number of the latest launch; 0: none yet
  int restarts_used = 0;         // after crashes
  bool restart_pending = false;  // it crashed, and the next launch is to come
  bool stop_requested = false;
  int grace_seconds = 10;
  std::string own_meeting;                    // of a gang: HOST:PORT where the others could meet this rank
  std::string meeting;                        // where all of them meet; empty until the backend has said it
  bool begun = false;                         // `files` holds where the attempt's lines begin
  std::map<std::string, FilePosition> files;  // events, stdout, stderr
  v1::AttemptStatus outcome;                  // once ended

  // Throws base::Error (DISK_FULL, IO).
  void save_start(const std::filesystem::path& folder) const;
  void save_state(const std::filesystem::path& folder) const;
  static absl::StatusOr<AttemptRecord> load(const std::filesystem::path& folder);
};

}  // namespace slipway::node
