// What `slipway run watch` shows: the state of a run's tasks, kept from the watch stream, drawn as text. No I/O.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "slipway/v1/event.pb.h"
#include "slipway/v1/run.pb.h"

namespace slipway::cli {

std::string state_word(v1::RunState state);
std::string state_word(v1::TaskState state);
bool is_final(v1::RunState state);

class RunView {
 public:
  // The run as it is now.
  void set_run(const v1::Run& run);
  // A change of the watch stream. Returns true when something that is shown has changed.
  bool apply(const v1::WatchResponse& change);

  const v1::Run& run() const { return run_; }
  bool ended() const { return is_final(run_.state()); }

  // The live block for a terminal of `width` columns.
  std::vector<std::string> lines(int64_t now_ms, int width) const;
  // For logs: what has happened since the last call, one line each. Progress at most every tenth.
  std::vector<std::string> news();
  // After the end: times of the tasks, results, what it made, the error.
  std::string summary() const;

 private:
  struct Seen {
    v1::TaskState state = v1::TASK_STATE_UNSPECIFIED;
    int tenth = -1;
    std::string phase;
  };
  std::string progress_text(const v1::Task& task, int bar_width) const;

  v1::Run run_;
  std::map<std::string, v1::Progress> progress_;
  std::map<std::string, std::map<std::string, double>> metrics_;
  std::map<std::string, Seen> seen_;
  v1::RunState seen_state_ = v1::RUN_STATE_UNSPECIFIED;
};

}  // namespace slipway::cli
