// Starts engines so that they outlive the agent, and keeps how they ended. The agent runs itself again as
// `slipway-agent supervise FOLDER NUMBER`; that process leads its own session, starts the engine in a process group of
// its own, waits for it, and writes the outcome to a file. Whichever agent lives then reads it.
//
// Files in FOLDER, N counting the launches of one attempt: launch-N.json (what to run), started-N.json (pid and start
// time, there before the engine's first instruction), exit-N.json (how it ended), supervisor.lock (held as long as the
// supervisor lives), supervisor.log.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "agents/node/process.h"

namespace slipway::node {

struct LaunchPlan {
  std::vector<std::string> arguments;              // the program's path first
  std::filesystem::path workdir;                   // stdout.log and stderr.log are appended to there
  std::map<std::string, std::string> environment;  // beside the agent's own
  int64_t memory_bytes = 0;                        // of private memory; 0: no limit
  int niceness = 0;                                // added to the agent's own
};

struct EngineExit {
  int exit_code = 0;  // meaningful when signal is 0
  int signal = 0;
  bool out_of_memory = false;  // SIGKILL, and the kernel's OOM killer was at work
  std::string launch_error;    // the program could not be started at all
};

class Supervisor {
 public:
  // `program`: the slipway-agent binary to run as supervisor.
  explicit Supervisor(std::filesystem::path program) : program_(std::move(program)) {}

  // Starts launch `number` and returns once the supervisor has taken over (not: once the engine runs). Any thread.
  absl::Status launch(const std::filesystem::path& folder, int number, const LaunchPlan& plan) const;

  static std::optional<ProcessId> started(const std::filesystem::path& folder, int number);
  static std::optional<EngineExit> exited(const std::filesystem::path& folder, int number);
  // True while a supervisor of this folder lives (whatever became of the agent that started it).
  static bool supervised(const std::filesystem::path& folder);

 private:
  std::filesystem::path program_;
};

// Body of `slipway-agent supervise FOLDER NUMBER`; the process's exit status. Single-threaded: called before anything
// else starts a thread. Expects the locked supervisor.lock as descriptor kLockDescriptor.
int supervise_main(const std::filesystem::path& folder, int number);

inline constexpr int kLockDescriptor = 3;

}  // namespace slipway::node
