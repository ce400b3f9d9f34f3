#include "agents/engine/train/parallel/launcher.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "agents/engine/spec/engine_main.h"
#include "agents/engine/spec/schema.h"
#include "agents/engine/train/arguments.h"
#include "agents/engine/train/environment.h"
#include "agents/engine/train/parallel/meeting.h"
#include "agents/engine/train/parallel/rank_environment.h"
#include "agents/engine/train/parallel/strength.h"
#include "agents/engine/train/training.h"
#include "backend/base/clock.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::train {

namespace {

using SteadyClock = std::chrono::steady_clock;
constexpr size_t kMaxSpecBytes = size_t{16} << 20U;

// The one thing a signal handler can reach.
std::atomic<bool> stop_requested{false};
void on_stop_signal(int) { stop_requested.store(true); }

void catch_stop_signals() {
  struct sigaction action {};
  action.sa_handler = on_stop_signal;
  sigemptyset(&action.sa_mask);
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
}

nlohmann::json parallel_of(int argc, char** argv) {
  const std::string path = argument(argc, argv, "--spec");
  if (path.empty()) return nlohmann::json::object();
  try {
    return spec::parse_spec("train", base::read_file(path, kMaxSpecBytes)).value("parallel", nlohmann::json::object());
  } catch (const base::Error&) {
    return nlohmann::json::object();
  }
}

struct Rank {
  pid_t pid = -1;
  std::optional<int> status;  // as waitpid gives it, once it has ended

  bool runs() const { return pid > 0 && !status; }
  // Died of something that is not its own decision.
  bool died() const { return status && !WIFEXITED(*status); }
};

struct Loss {
  int64_t rank = 0;
  std::string what;  // was killed by signal 9
};

// One start of all ranks. One thread.
class Gang {
 public:
  Gang(int64_t size, char** argv, const std::string& notice);
  ~Gang() { kill_all(); }
  Gang(const Gang&) = delete;
  Gang& operator=(const Gang&) = delete;

  // Until rank 0 has ended of its own (its status), or one is lost. All are told to stop when that was asked of this
  // process, or `asks_to_stop` says so.
  std::optional<Loss> run(const std::function<bool()>& asks_to_stop, int& status);

 private:
  void start(int64_t rank, char** argv, const std::string& notice);
  void collect();
  void kill_all();
  std::optional<Loss> loss();
  void signal_all(int signal);

  Meeting meeting_;
  std::vector<Rank> ranks_;
  bool told_to_stop_ = false;
  std::optional<SteadyClock::time_point> first_end_;
};

Gang::Gang(int64_t size, char** argv, const std::string& notice)
    : meeting_("127.0.0.1", 0, true, size, {}), ranks_(static_cast<size_t>(size)) {
  for (int64_t rank = 0; rank < size; ++rank) start(rank, argv, notice);
}

void Gang::start(int64_t rank, char** argv, const std::string& notice) {
  const int64_t size = static_cast<int64_t>(ranks_.size());
  std::vector<std::string> variables;
  const auto set = [&](const char* name, const std::string& value) {
    variables.emplace_back(name).append("=").append(value);
  };
  set("RANK", std::to_string(rank));
  set("LOCAL_RANK", std::to_string(rank));
  set("WORLD_SIZE", std::to_string(size));
  set("MASTER_ADDR", "127.0.0.1");
  set("MASTER_PORT", std::to_string(meeting_.port()));
  set("TORCHELASTIC_USE_AGENT_STORE", "True");
  set("TORCHELASTIC_RESTART_COUNT", "");
  set("OMP_NUM_THREADS", std::to_string(std::max<int64_t>(1, usable_threads() / size)));
  set(kLaunchedVariable, "1");
  set(kNoticeVariable, notice);
  std::vector<char*> environment;
  for (std::string& variable : variables) environment.push_back(variable.data());
  for (char** at = environ; *at != nullptr; ++at) {
    const std::string name = std::string(*at).substr(0, std::string(*at).find('=') + 1);
    const bool replaced = std::any_of(variables.begin(), variables.end(),
                                      [&](const std::string& variable) { return variable.starts_with(name); });
    if (!replaced) environment.push_back(*at);
  }
  environment.push_back(nullptr);
  const pid_t launcher = getpid();
  const pid_t pid = fork();
  if (pid < 0) throw base::system_error("cannot start rank " + std::to_string(rank), errno);
  if (pid == 0) {
    // Ranks never outlive who would start them again.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != launcher) _exit(spec::kExitFailed);
    execve("/proc/self/exe", argv, environment.data());
    _exit(spec::kExitFailed);
  }
  ranks_[static_cast<size_t>(rank)].pid = pid;
}

void Gang::signal_all(int signal) {
  for (const Rank& rank : ranks_) {
    if (rank.runs()) kill(rank.pid, signal);
  }
}

void Gang::collect() {
  for (Rank& rank : ranks_) {
    int status = 0;
    if (rank.runs() && waitpid(rank.pid, &status, WNOHANG) == rank.pid) {
      rank.status = status;
      if (!first_end_) first_end_ = SteadyClock::now();
    }
  }
}

void Gang::kill_all() {
  signal_all(SIGKILL);
  for (Rank& rank : ranks_) {
    int status = 0;
    if (rank.runs() && waitpid(rank.pid, &status, 0) == rank.pid) rank.status = status;
  }
}

std::optional<Loss> Gang::loss() {
  for (size_t i = 0; i < ranks_.size(); ++i) {
    if (ranks_[i].died())
      return Loss{static_cast<int64_t>(i), "was killed by signal " + std::to_string(WTERMSIG(*ranks_[i].status))};
  }
  // Those that have ended no longer count; of the others each must.
  if (first_end_) {
    const auto said = meeting_.look("lost");
    const bool has_failed = meeting_.look("failure").has_value();
    if (!said || has_failed) return std::nullopt;
    return Loss{std::stoll(*said), "no longer answers"};
  }
  // One that is left alone meets nobody and gives no signs there: its heartbeats are for who started this process.
  if (ranks_.size() == 1) return std::nullopt;
  if (const auto silent = meeting_.lost_rank(); silent && !meeting_.look("failure")) {
    return Loss{*silent, "has been silent for " + std::to_string(kSilenceLimit.count()) + " s"};
  }
  return std::nullopt;
}

std::optional<Loss> Gang::run(const std::function<bool()>& asks_to_stop, int& status) {
  constexpr std::chrono::seconds kLastWords{20};
  for (;;) {
    collect();
    if (!told_to_stop_ && (stop_requested.load() || asks_to_stop())) {
      told_to_stop_ = true;
      signal_all(SIGTERM);
    }
    const Rank& first = ranks_.front();
    if (first.status && WIFEXITED(*first.status) && WEXITSTATUS(*first.status) != kExitRankLost) {
      status = WEXITSTATUS(*first.status);
      return std::nullopt;
    }
    if (auto lost = loss()) return lost;
    if (first_end_ && SteadyClock::now() - *first_end_ > kLastWords) {
      const auto ended = std::find_if(ranks_.begin(), ranks_.end(), [](const Rank& rank) { return !rank.runs(); });
      return Loss{ended - ranks_.begin(), "ended before the others"};
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

// Ranks whose launcher was killed end of themselves, but with much memory not at once: until then they hold the lock on
// the workdir, which rank 0 wants. Who holds it for longer is somebody else, as rank 0 will say.
void wait_for_former_ranks(const std::filesystem::path& workdir) {
  constexpr std::chrono::seconds kPatience{10};
  const int lock = open((workdir / spec::kLockFile).c_str(), O_RDONLY | O_CLOEXEC);
  if (lock < 0) return;
  const auto deadline = SteadyClock::now() + kPatience;
  while (flock(lock, LOCK_EX | LOCK_NB) != 0 && !stop_requested.load() && SteadyClock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  close(lock);
}

// Its step; -1 without one. Nothing else of the folder is touched: rank 0 may be writing there.
int64_t newest_checkpoint(const std::filesystem::path& checkpoints) {
  constexpr std::string_view kPrefix = "step-";
  int64_t newest = -1;
  std::error_code failure;
  for (const auto& entry : std::filesystem::directory_iterator(checkpoints, failure)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(kPrefix) || !std::filesystem::exists(entry.path() / "COMMIT", failure)) continue;
    newest = std::max<int64_t>(newest, std::atoll(name.c_str() + kPrefix.size()));
  }
  return newest;
}

}  // namespace

bool asks_for_ranks(int argc, char** argv) {
  return std::getenv("WORLD_SIZE") == nullptr && parallel_of(argc, argv).value("ranks", 1) > 1;
}

int run_launcher(int argc, char** argv) {
  catch_stop_signals();
  const nlohmann::json parallel = parallel_of(argc, argv);
  const std::filesystem::path workdir = argument(argc, argv, "--workdir"), checkpoints = workdir / "checkpoints";
  wait_for_former_ranks(workdir);
  Strength strength(parallel.value("min_ranks", int64_t{1}), parallel.value("ranks", int64_t{1}),
                    [&checkpoints] { return newest_checkpoint(checkpoints); });
  std::string notice;
  // At least once: the first rank says what is wrong with the spec.
  do {
    std::optional<Loss> lost;
    int status = spec::kExitFailed;
    bool grows = false;
    const auto asks_to_stop = [&] { return grows = strength.can_grow(); };
    try {
      lost = Gang(strength.size(), argv, notice).run(asks_to_stop, status);
    } catch (const base::Error& error) {
      std::fprintf(stderr, "slipway-train: %s: %s\n", error.code().c_str(), error.what());
      return spec::kExitFailed;
    }
    if (!lost) {
      if (!grows || status != spec::kExitStopped || stop_requested.load()) return status;
      strength.grow();
      notice.clear();
      std::fprintf(stderr, "slipway-train: %lld ranks again\n", static_cast<long long>(strength.size()));
      continue;
    }
    notice = "rank " + std::to_string(lost->rank) + " of " + std::to_string(strength.size()) + " " + lost->what;
    std::fprintf(stderr, "slipway-train: %s\n", notice.c_str());
    if (stop_requested.load()) return spec::kExitStopped;
    strength.lose_one();
    if (strength.suffices())
      std::fprintf(stderr, "slipway-train: starting %lld ranks\n", static_cast<long long>(strength.size()));
  } while (strength.suffices());
  return spec::run_engine(argc, argv, "train", [&](spec::EngineContext&) -> int {
    throw base::Error(kRankLost,
                      notice + ", and parallel.min_ranks wants " + std::to_string(parallel.value("min_ranks", 1)),
                      "start again: training goes on from the last checkpoint; look at stderr.log and at the machine's "
                      "memory");
  });
}

int run_follower(int argc, char** argv) {
  catch_stop_signals();
  std::signal(SIGPIPE, SIG_IGN);
  try {
    const base::TemporaryFolder scratch;
    const base::SystemClock clock;
    spec::EventWriter events(scratch.path(), clock);
    spec::EngineContext context{
        spec::parse_spec("train", base::read_file(argument(argc, argv, "--spec"), kMaxSpecBytes)),
        std::filesystem::absolute(argument(argc, argv, "--workdir")).lexically_normal(), events, stop_requested};
    return run_training(context);
  } catch (const base::Error& error) {
    std::fprintf(stderr, "slipway-train: %s: %s\n", error.code().c_str(), error.what());
    return error.code() == base::kInvalidSpec ? spec::kExitWrongSpec : spec::kExitFailed;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "slipway-train: %s\n", error.what());
    return spec::kExitFailed;
  }
}

}  // namespace slipway::train
