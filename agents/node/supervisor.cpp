#include "agents/node/supervisor.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <thread>

#include "backend/base/descriptor.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

extern char** environ;

namespace slipway::node {
namespace {

namespace fs = std::filesystem;
constexpr std::chrono::seconds kLockPatience{3};

fs::path numbered(const fs::path& folder, const char* name, int number) {
  return folder / (std::string(name) + "-" + std::to_string(number) + ".json");
}

std::optional<nlohmann::json> read_json(const fs::path& path) {
  try {
    auto value = nlohmann::json::parse(base::read_file(path, 1 << 20), nullptr, false);
    if (value.is_object()) return value;
  } catch (const base::Error&) {  // not there (yet)
  }
  return std::nullopt;
}

absl::Status system_status(const std::string& what, int error_number) {
  return absl::InternalError(what + ": " + std::strerror(error_number));
}

}  // namespace

absl::Status Supervisor::launch(const fs::path& folder, int number, const LaunchPlan& plan) const {
  const fs::path lock_path = folder / "supervisor.lock";
  const base::Descriptor lock(open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (lock.get() < 0) return system_status("open " + lock_path.string(), errno);
  // The last supervisor writes exit-N.json a moment before it is gone itself.
  const auto deadline = std::chrono::steady_clock::now() + kLockPatience;
  while (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (std::chrono::steady_clock::now() > deadline) {
      return absl::FailedPreconditionError("an engine of " + folder.string() + " is still supervised");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  const nlohmann::json description = {{"arguments", plan.arguments},
                                      {"workdir", plan.workdir.string()},
                                      {"environment", plan.environment},
                                      {"memory_bytes", plan.memory_bytes},
                                      {"niceness", plan.niceness}};
  try {
    base::write_file_atomically(numbered(folder, "launch", number), description.dump(2) + "\n", 0600);
  } catch (const base::Error& error) {
    return absl::InternalError(error.what());
  }

  const std::string log = (folder / "supervisor.log").string();
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  posix_spawn_file_actions_adddup2(&actions, lock.get(), kLockDescriptor);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  std::vector<std::string> words = {program_.string(), "supervise", folder.string(), std::to_string(number)};
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_t pid = 0;
  const int failure = posix_spawn(&pid, argv[0], &actions, &attributes, argv.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (failure != 0) return system_status("start " + program_.string(), failure);
  // The process forks once more and leaves at once: the supervisor is nobody's child, and leaves no zombie here.
  int status = 0;
  while (waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return system_status("wait for the supervisor", errno);
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    return absl::InternalError("the supervisor did not start; its log is " + log);
  }
  return absl::OkStatus();
}

std::optional<ProcessId> Supervisor::started(const fs::path& folder, int number) {
  const auto value = read_json(numbered(folder, "started", number));
  if (!value) return std::nullopt;
  return ProcessId{value->value("pid", 0), value->value("start_ticks", int64_t{0}), value->value("boot_id", "")};
}

std::optional<EngineExit> Supervisor::exited(const fs::path& folder, int number) {
  const auto value = read_json(numbered(folder, "exit", number));
  if (!value) return std::nullopt;
  return EngineExit{value->value("exit_code", 0), value->value("signal", 0), value->value("out_of_memory", false),
                    value->value("launch_error", "")};
}

bool Supervisor::supervised(const fs::path& folder) {
  const base::Descriptor lock(open((folder / "supervisor.lock").c_str(), O_RDWR | O_CLOEXEC));
  if (lock.get() < 0) return false;
  return flock(lock.get(), LOCK_EX | LOCK_NB) != 0;
}

}  // namespace slipway::node
