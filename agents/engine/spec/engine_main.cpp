#include "agents/engine/spec/engine_main.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <utility>
#include <variant>

#include "agents/engine/spec/schema.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::spec {
namespace {

constexpr size_t kMaxSpecBytes = size_t{16} << 20U;

// The one thing a signal handler can reach.
std::atomic<bool> stop_requested{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void on_stop_signal(int) { stop_requested.store(true); }

void say(const std::string& engine, const std::string& text) {
  std::fprintf(stderr, "%s: %s\n", engine.c_str(), text.c_str());
}

void say_error(const std::string& engine, const std::string& code, const std::string& message,
               const std::string& advice) {
  say(engine, code + ": " + message + (advice.empty() ? "" : "\n" + engine + ": " + advice));
}

struct Arguments {
  std::string spec;
  std::string workdir;
};

bool has_plan(const std::string& engine) { return engine == "slipway-train"; }

std::string usage(const std::string& engine) {
  const std::string plan =
      has_plan(engine) ? "  --plan          measure two steps, print memory, time per step and duration as JSON\n" : "";
  return "Usage: " + engine +
         " --spec FILE --workdir DIR\n\n"
         "Does the job that FILE describes (JSON). Everything that outlives a crash is in DIR: events.jsonl,\n"
         "checkpoints and results; started again on the same DIR it goes on where it was.\n\n"
         "  --spec FILE     the job, checked before anything else happens\n"
         "  --workdir DIR   made when it is not there; relative paths in the spec are relative to it\n" +
         plan +
         "  --schema        print the JSON Schema of the spec\n"
         "  --help          this text\n"
         "  --version       the version\n\n"
         "Exit status: 0 succeeded, 1 failed, 2 the spec or the arguments are wrong, 143 stopped by SIGTERM after "
         "saving.\n";
}

// The arguments, or the exit status when there is nothing more to do.
std::variant<Arguments, int> parse_arguments(int argc, char** argv, const std::string& engine,
                                             const std::string& kind) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--help" || argument == "-h") {
      std::fputs(usage(engine).c_str(), stdout);
      return kExitSucceeded;
    }
    if (argument == "--version") {
      std::printf("%s %s\n", engine.c_str(), version().c_str());
      return kExitSucceeded;
    }
    if (argument == "--schema") {
      std::printf("%s\n", schema_of(kind).dump(2).c_str());
      return kExitSucceeded;
    }
    std::string* target = nullptr;
    for (const auto& [name, field] :
         {std::pair{std::string("--spec"), &arguments.spec}, {"--workdir", &arguments.workdir}}) {
      if (argument == name) {
        target = field;
        if (++i >= argc) {
          say(engine, name + " needs a value");
          return kExitWrongSpec;
        }
        *target = argv[i];
      } else if (argument.starts_with(name + "=")) {
        target = field;
        *target = argument.substr(name.size() + 1);
      }
      if (target != nullptr) break;
    }
    if (target == nullptr) {
      std::vector<std::string> known{"--spec", "--workdir", "--schema", "--help", "--version"};
      if (has_plan(engine)) known.push_back("--plan");
      const std::string nearest = nearest_name(argument, known);
      say(engine,
          "unknown argument " + argument + (nearest.empty() ? "; see --help" : "; did you mean " + nearest + "?"));
      return kExitWrongSpec;
    }
  }
  if (arguments.spec.empty() || arguments.workdir.empty()) {
    std::fputs(usage(engine).c_str(), stderr);
    return kExitWrongSpec;
  }
  return arguments;
}

// An exclusive lock on WORKDIR/engine.lock, held as long as the process lives, whatever ends it.
class WorkdirLock {
 public:
  explicit WorkdirLock(const std::filesystem::path& workdir) {
    const std::string name = (workdir / kLockFile).string();
    fd_ = open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd_ < 0) throw base::system_error("cannot open " + name, errno);
    if (flock(fd_, LOCK_EX | LOCK_NB) != 0) {
      const int reason = errno;
      char text[32] = {};
      const ssize_t count = pread(fd_, text, sizeof text - 1, 0);
      close(fd_);
      if (reason != EWOULDBLOCK) throw base::system_error("cannot lock " + name, reason);
      const long pid = count > 0 ? std::strtol(text, nullptr, 10) : 0;
      throw base::Error(
          "WORKDIR_BUSY",
          workdir.string() + " is in use by " + (pid > 0 ? "process " + std::to_string(pid) : "another process"),
          "wait for it to end, stop it, or give another --workdir");
    }
    const std::string pid = std::to_string(getpid()) + "\n";
    // Only for the message above: a full disk is reported by the events instead.
    if (ftruncate(fd_, 0) == 0) static_cast<void>(!pwrite(fd_, pid.data(), pid.size(), 0));
  }
  ~WorkdirLock() { close(fd_); }
  WorkdirLock(const WorkdirLock&) = delete;
  WorkdirLock& operator=(const WorkdirLock&) = delete;

 private:
  int fd_ = -1;
};

void catch_signals() {
  struct sigaction action {};
  action.sa_handler = on_stop_signal;
  sigemptyset(&action.sa_mask);
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a file size limit becomes EFBIG, an error like others
}

std::string read_spec(const std::string& path) {
  try {
    return base::read_file(path, kMaxSpecBytes);
  } catch (const base::Error& error) {
    throw base::Error(base::kInvalidSpec, std::string("cannot read the spec: ") + error.what(), error.advice());
  }
}

// Runs spec and body; every way out is an event and a status.
int run_in_workdir(const std::string& engine, const std::string& kind, const std::string& spec_path,
                   const std::filesystem::path& workdir, EventWriter& events,
                   const std::function<int(EngineContext&)>& body, bool finish_on_stop) {
  std::string code, message, advice;
  int status = kExitFailed;
  try {
    events.started(engine);
    EngineContext context{parse_spec(kind, read_spec(spec_path)), workdir, events, stop_requested};
    status = body(context);
    if (status == kExitStopped) {
      events.finished("stopped");
      return finish_on_stop ? kExitSucceeded : kExitStopped;
    }
    events.finished(status == kExitSucceeded ? "succeeded" : "failed");
    return status;
  } catch (const base::Error& error) {
    code = error.code();
    message = error.what();
    advice = error.advice();
    status = code == base::kInvalidSpec ? kExitWrongSpec : kExitFailed;
  } catch (const std::bad_alloc&) {
    code = base::kOutOfMemory;
    message = "there was not enough memory";
    advice = "close other programs, or choose a smaller model, batch size or length";
  } catch (const std::exception& error) {
    code = "INTERNAL";
    message = error.what();
    advice = "this is a fault in " + engine + "; report it with this workdir's events.jsonl and stderr.log";
  }
  say_error(engine, code, message, advice);
  try {
    events.error(code, message, advice);
    events.finished("failed");
  } catch (const base::Error& error) {
    say_error(engine, error.code(), error.what(), error.advice());
    return kExitFailed;
  }
  return status;
}

}  // namespace

std::string version() { return SLIPWAY_VERSION; }

std::filesystem::path EngineContext::resolve(const std::string& path) const {
  return (workdir / path).lexically_normal();  // an absolute path stays itself
}

int run_engine(int argc, char** argv, const std::string& kind, const std::function<int(EngineContext&)>& body,
               bool finish_on_stop) {
  const std::string engine = "slipway-" + kind;
  const auto parsed = parse_arguments(argc, argv, engine, kind);
  if (std::holds_alternative<int>(parsed)) return std::get<int>(parsed);
  const auto& arguments = std::get<Arguments>(parsed);
  stop_requested.store(false);
  catch_signals();
  try {
    std::error_code failure;
    const std::filesystem::path workdir = std::filesystem::absolute(arguments.workdir, failure).lexically_normal();
    std::filesystem::create_directories(workdir, failure);
    if (failure) throw base::system_error("cannot make the workdir " + workdir.string(), failure.value());
    const WorkdirLock lock(workdir);
    const base::SystemClock clock;
    EventWriter events(workdir, clock, stdout);
    if (events.already_succeeded()) {
      say(engine, workdir.string() + " has finished already; nothing to do");
      return kExitSucceeded;
    }
    return run_in_workdir(engine, kind, arguments.spec, workdir, events, body, finish_on_stop);
  } catch (const base::Error& error) {
    say_error(engine, error.code(), error.what(), error.advice());
  } catch (const std::exception& error) {
    say_error(engine, "INTERNAL", error.what(), "");
  }
  return kExitFailed;
}

}  // namespace slipway::spec
