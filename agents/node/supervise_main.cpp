// The supervisor process: what `slipway-agent supervise` does. See supervisor.h.
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

#include "agents/node/process.h"
#include "agents/node/supervisor.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::node {
namespace {

namespace fs = std::filesystem;

// In the engine's process, between fork and exec: limits, descriptors, then the program. Never returns.
[[noreturn]] void become_engine(const nlohmann::json& plan, int out, int err, int go, int report) {
  setpgid(0, 0);
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGPIPE}) signal(number, SIG_DFL);
  char token = 0;
  // Only when the pid is on disk may the first instruction run: an engine that nobody knows would be lost.
  if (read(go, &token, 1) != 1) _exit(127);
  rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  const int64_t memory = plan.value("memory_bytes", int64_t{0});
  if (const int niceness = plan.value("niceness", 0); niceness != 0) {
    [[maybe_unused]] const int ignored = nice(niceness);  // beside what the agent itself runs with
  }
  // When memory runs out the kernel is to take the engine, not the agent or the backend.
  if (const int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC); fd >= 0) {
    [[maybe_unused]] const ssize_t ignored = write(fd, "500", 3);
    close(fd);
  }
  for (const auto& [name, value] : plan.at("environment").items()) {
    setenv(name.c_str(), value.get_ref<const std::string&>().c_str(), 1);
  }
  const std::string workdir = plan.at("workdir");
  dup2(out, 1);
  dup2(err, 2);
  std::vector<std::string> words = plan.at("arguments");
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  int failure = 0;
  if (chdir(workdir.c_str()) != 0) {
    failure = errno;
  } else {
    if (memory > 0) {  // last: it counts for this process too
      rlimit limit{static_cast<rlim_t>(memory), static_cast<rlim_t>(memory)};
      setrlimit(RLIMIT_DATA, &limit);
    }
    execv(argv[0], argv.data());
    failure = errno;
  }
  [[maybe_unused]] const ssize_t ignored = write(report, &failure, sizeof failure);
  _exit(127);
}

// A log that does not end in a line end gets one: the tail hands on whole lines only.
void close_last_line(int fd) {
  struct stat facts {};
  if (fstat(fd, &facts) != 0 || facts.st_size == 0) return;
  char last = 0;
  if (pread(fd, &last, 1, facts.st_size - 1) == 1 && last != '\n') {
    [[maybe_unused]] const ssize_t ignored = write(fd, "\n", 1);
  }
}

int supervise(const fs::path& folder, int number) {
  const std::string suffix = "-" + std::to_string(number) + ".json";
  const auto plan = nlohmann::json::parse(base::read_file(folder / ("launch" + suffix), 1 << 20));
  const fs::path workdir = plan.at("workdir").get<std::string>();
  const int out = open((workdir / "stdout.log").c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  const int err = open((workdir / "stderr.log").c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (out < 0 || err < 0) throw base::system_error("open the logs in " + workdir.string(), errno);
  int go[2];
  int report[2];
  if (pipe2(go, O_CLOEXEC) != 0 || pipe2(report, O_CLOEXEC) != 0) throw base::system_error("pipe", errno);
  const int64_t oom_kills_before = oom_kill_count();
  const pid_t pid = fork();
  if (pid < 0) throw base::system_error("fork", errno);
  if (pid == 0) {
    close(go[1]);
    become_engine(plan, out, err, go[0], report[1]);
  }
  setpgid(pid, pid);  // also here: whoever comes first
  close(go[0]);
  close(report[1]);
  const ProcessId engine = identify(pid);
  base::write_file_atomically(
      folder / ("started" + suffix),
      nlohmann::json{{"pid", pid}, {"start_ticks", engine.start_ticks}, {"boot_id", engine.boot_id}}.dump() + "\n",
      0600);
  [[maybe_unused]] const ssize_t ignored = write(go[1], "g", 1);
  close(go[1]);
  int exec_error = 0;
  ssize_t got = 0;
  while ((got = read(report[0], &exec_error, sizeof exec_error)) < 0 && errno == EINTR) {
  }
  siginfo_t ended{};
  while (waitid(P_PID, static_cast<id_t>(pid), &ended, WEXITED | WNOWAIT) < 0) {
    if (errno != EINTR) throw base::system_error("wait for the engine", errno);
  }
  kill(-pid, SIGKILL);  // what it may have left behind in its group, while its pid cannot be another's yet
  int status = 0;
  while (waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) throw base::system_error("wait for the engine", errno);
  }
  close_last_line(out);
  close_last_line(err);
  nlohmann::json exit = {{"exit_code", WIFEXITED(status) ? WEXITSTATUS(status) : 0},
                         {"signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0}};
  if (got == static_cast<ssize_t>(sizeof exec_error)) {
    exit["launch_error"] = plan.at("arguments").at(0).get<std::string>() + ": " + std::strerror(exec_error);
  }
  if (exit["signal"] == SIGKILL && oom_kills_before >= 0 && oom_kill_count() > oom_kills_before) {
    exit["out_of_memory"] = true;
  }
  base::write_file_atomically(folder / ("exit" + suffix), exit.dump() + "\n", 0600);
  return 0;
}

}  // namespace

int supervise_main(const fs::path& folder, int number) {
  fcntl(kLockDescriptor, F_SETFD, FD_CLOEXEC);  // the engine does not inherit the lock
  const pid_t child = fork();
  if (child < 0) return 1;
  if (child > 0) _exit(0);
  for (const int ignored : {SIGTERM, SIGINT, SIGHUP, SIGPIPE}) signal(ignored, SIG_IGN);
  try {
    return supervise(folder, number);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "supervise %s %d: %s\n", folder.c_str(), number, error.what());
    try {
      base::write_file_atomically(folder / ("exit-" + std::to_string(number) + ".json"),
                                  nlohmann::json{{"launch_error", error.what()}}.dump() + "\n", 0600);
    } catch (const std::exception& second) {
      std::fprintf(stderr, "supervise %s %d: %s\n", folder.c_str(), number, second.what());
    }
    return 1;
  }
}

}  // namespace slipway::node
