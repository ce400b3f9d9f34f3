// What every engine's main does: arguments, workdir lock, spec, signals, events, exit status.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "agents/engine/spec/events.h"

namespace slipway::spec {

inline constexpr int kExitSucceeded = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitWrongSpec = 2;
inline constexpr int kExitStopped = 143;

// In the workdir: locked as long as a process works there.
inline constexpr char kLockFile[] = "engine.lock";

struct EngineContext {
  nlohmann::json spec;            // checked, defaults filled in
  std::filesystem::path workdir;  // absolute; relative paths in the spec are relative to it
  EventWriter& events;
  const std::atomic<bool>& stop;  // true once SIGTERM or SIGINT came: save and return kExitStopped

  // `path` from the spec, made absolute.
  std::filesystem::path resolve(const std::string& path) const;
};

// The version of this build: 0.1.0.
std::string version();

// Runs `body` for `slipway-<kind> --spec FILE --workdir DIR`, and returns the exit status:
// - takes a lock on the workdir, so that two processes never work in one (exit 1, with a message that names the other
// pid);
// - exits 0 at once when the workdir has finished with success;
// - writes started, and at the end finished (succeeded, failed, stopped); an exception of `body` becomes an error event
//   and exit 1; std::bad_alloc becomes OUT_OF_MEMORY; a wrong spec an error event and exit 2;
// - body returns kExitSucceeded or kExitStopped.
// `finish_on_stop`: for servers, a stop that drained well is success (exit 0).
int run_engine(int argc, char** argv, const std::string& kind, const std::function<int(EngineContext&)>& body,
               bool finish_on_stop = false);

}  // namespace slipway::spec
