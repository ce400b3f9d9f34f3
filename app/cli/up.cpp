// slipway up|down: backend and agent of this folder, as one thing to start and stop.
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "app/cli/commands.h"
#include "app/cli/output.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

extern char** environ;

namespace slipway::cli {
namespace {

namespace fs = std::filesystem;
constexpr auto kStartTime = std::chrono::seconds(60);

struct Options {
  std::string data, web_listen = "127.0.0.1:7878", grpc_listen = "127.0.0.1:7879";
  std::string web_root, workflows, node_name;
  bool detach = false;
};

fs::path default_data() {
  const char* data = std::getenv("XDG_DATA_HOME");
  if (data != nullptr && *data != '\0') return fs::path(data) / "slipway";
  const char* home = std::getenv("HOME");
  return fs::path(home == nullptr ? "/tmp" : home) / ".local/share/slipway";
}

std::optional<nlohmann::json> read_json(const fs::path& path) {
  try {
    auto value = nlohmann::json::parse(base::read_file(path, 1 << 16), nullptr, false);
    if (value.is_object()) return value;
  } catch (const base::Error&) {
  }
  return std::nullopt;
}

// Of this process and no other: the name is checked, because a pid may be used again.
bool runs(pid_t pid, const std::string& program) {
  if (pid <= 0) return false;
  std::error_code failure;
  const auto executable = fs::read_symlink("/proc/" + std::to_string(pid) + "/exe", failure);
  return !failure && executable.filename().string().rfind(program, 0) == 0;
}

pid_t start(const fs::path& program, const std::vector<std::string>& flags, const fs::path& log) {
  std::vector<std::string> words = {program.string()};
  words.insert(words.end(), flags.begin(), flags.end());
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  // A session of its own: Ctrl+C reaches us alone, and we stop both in order.
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  pid_t pid = 0;
  const int failure = posix_spawn(&pid, argv[0], &actions, &attributes, argv.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (failure != 0) {
    throw Failure(Exit::kFailed, "could not start " + program.string() + ": " + std::strerror(failure),
                  "it belongs beside this program: build or install all of Slipway");
  }
  return pid;
}

bool has_ended(pid_t pid) {
  int status = 0;
  return waitpid(pid, &status, WNOHANG) != 0;
}

std::string tail_of(const fs::path& log) {
  try {
    const std::string text = base::read_file(log, 64U << 20U);
    return text.substr(text.size() > 1500 ? text.find('\n', text.size() - 1500) + 1 : 0);
  } catch (const base::Error&) {
    return "";
  }
}

void stop(pid_t pid, std::chrono::seconds patience, bool is_child, const std::string& program) {
  if (pid <= 0) return;
  const auto gone = [&] { return is_child ? has_ended(pid) : !runs(pid, program); };
  if (gone()) return;
  kill(pid, SIGTERM);
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (!gone()) {
    if (std::chrono::steady_clock::now() > deadline) {
      kill(pid, SIGKILL);
      if (is_child) waitpid(pid, nullptr, 0);
      return;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

void print_address(const Context& context, const fs::path& data, const nlohmann::json& facts) {
  std::string link;
  try {
    link = base::read_file(data / "setup-link", 4096);
    while (!link.empty() && std::isspace(static_cast<unsigned char>(link.back())) != 0) link.pop_back();
  } catch (const base::Error&) {  // there is an administrator already
  }
  const std::string web = facts.value("web", "");
  const std::string url = web.find("://") == std::string::npos ? "http://" + web : web;
  if (context.json) {
    std::cout << nlohmann::ordered_json{{"console", url},
                                        {"grpc", facts.value("grpc", "")},
                                        {"data", data.string()},
                                        {"setup_link", link}}
                     .dump(2)
              << '\n';
    return;
  }
  std::cout << "Console:       " << url << '\n';
  if (link.empty()) {
    std::cout << "Sign in:       with your user name and password, or: slipway login --backend "
              << facts.value("grpc", "") << '\n';
  } else {
    std::cout << "First sign-in: " << link << "\n               (makes the administrator; works once)\n";
  }
  std::cout << "Command line:  slipway --backend " << facts.value("grpc", "") << " …\n"
            << "Data and logs: " << data.string() << std::endl;
}

Exit up(Context& context, const Options& options) {
  const fs::path data = fs::absolute(options.data.empty() ? default_data() : fs::path(options.data));
  const fs::path here = fs::read_symlink("/proc/self/exe").parent_path();
  const fs::path ready = data / "slipwayd.json";
  try {
    fs::create_directories(data / "logs");
    fs::permissions(data, fs::perms::owner_all);
  } catch (const fs::filesystem_error& error) {
    throw Failure(Exit::kFailed, error.what(), "give a folder that can be written with --data");
  }
  if (const auto facts = read_json(ready); facts && runs(facts->value("pid", 0), "slipwayd")) {
    if (!context.json) std::cout << "Slipway runs already on this data folder.\n";
    print_address(context, data, *facts);
    return Exit::kOk;
  }
  // From here on signals are waited for, in one place.
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGCHLD}) sigaddset(&signals, number);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  std::vector<std::string> flags = {"--data",           data.string(),   "--web-listen",
                                    options.web_listen, "--grpc-listen", options.grpc_listen};
  if (!options.web_root.empty()) flags.insert(flags.end(), {"--web-root", options.web_root});
  if (!options.workflows.empty()) flags.insert(flags.end(), {"--workflows", options.workflows});
  const fs::path backend_log = data / "logs/slipwayd.log";
  const fs::path agent_log = data / "logs/slipway-agent.log";
  const pid_t backend = start(here / "slipwayd", flags, backend_log);
  pid_t agent = 0;
  const auto stop_both = [&] {
    stop(agent, std::chrono::seconds(40), true, "slipway-agent");
    stop(backend, std::chrono::seconds(20), true, "slipwayd");
  };
  const auto deadline = std::chrono::steady_clock::now() + kStartTime;
  std::optional<nlohmann::json> facts;
  while (!(facts = read_json(ready)) || facts->value("pid", 0) != backend) {
    const bool ended = has_ended(backend);
    if (ended || std::chrono::steady_clock::now() > deadline) {
      stop_both();
      throw Failure(Exit::kFailed, "slipwayd did not start; the end of its log:\n" + tail_of(backend_log),
                    "the whole log is " + backend_log.string());
    }
    const timespec moment{0, 20'000'000};
    siginfo_t info{};
    const int number = sigtimedwait(&signals, &info, &moment);
    if (number > 0 && number != SIGCHLD) {
      stop_both();
      return Exit::kOk;
    }
  }
  flags = {"--backend",     facts->value("grpc", ""),
           "--data",        (data / "agent").string(),
           "--join-file",   (data / "local-join-token").string(),
           "--stop-engines"};
  if (!options.node_name.empty()) flags.insert(flags.end(), {"--name", options.node_name});
  try {
    agent = start(here / "slipway-agent", flags, agent_log);
    base::write_file_atomically(data / "up.json",
                                nlohmann::json{{"slipwayd", backend}, {"slipway-agent", agent}}.dump() + "\n", 0600);
  } catch (...) {
    stop_both();
    throw;
  }
  print_address(context, data, *facts);
  if (options.detach) {
    if (!context.json)
      std::cout << "Stop it:       slipway down" << (options.data.empty() ? "" : " --data " + data.string())
                << std::endl;
    return Exit::kOk;
  }
  if (!context.json) std::cout << "Ctrl+C stops it." << std::endl;
  while (true) {
    siginfo_t info{};
    const int number = sigwaitinfo(&signals, &info);
    if (number == SIGCHLD) {
      const bool backend_ended = has_ended(backend);
      const bool agent_ended = has_ended(agent);
      if (!backend_ended && !agent_ended) continue;
      stop_both();
      const fs::path log = backend_ended ? backend_log : agent_log;
      throw Failure(Exit::kFailed,
                    std::string(backend_ended ? "slipwayd" : "slipway-agent") +
                        " ended by itself; the end of its log:\n" + tail_of(log),
                    "the whole log is " + log.string());
    }
    if (number > 0) break;
  }
  if (!context.json) std::cout << "\nStopping (engines save their work) …" << std::endl;
  stop_both();
  return Exit::kOk;
}

Exit down(Context& context, const std::string& folder) {
  const fs::path data = fs::absolute(folder.empty() ? default_data() : fs::path(folder));
  const auto pids = read_json(data / "up.json");
  if (!pids) {
    throw Failure(Exit::kNotFound, "nothing was started by `slipway up` on " + data.string(),
                  "name its folder with --data");
  }
  for (const auto& [program, patience] : {std::pair{"slipway-agent", 40}, std::pair{"slipwayd", 20}}) {
    const pid_t pid = pids->value(program, 0);
    if (runs(pid, program)) stop(pid, std::chrono::seconds(patience), false, program);
  }
  std::error_code ignored;
  fs::remove(data / "up.json", ignored);
  if (!context.json) std::cout << "Stopped.\n";
  return Exit::kOk;
}

}  // namespace

void add_up(CLI::App& app, Context& context) {
  const auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand("up", "Start backend and agent on this machine");
  command->add_option("--data", options->data, "Folder for everything (default: " + default_data().string() + ")");
  command->add_option("--web-listen", options->web_listen, "Address of console and OpenAI API; port 0: any free one")
      ->capture_default_str();
  command->add_option("--grpc-listen", options->grpc_listen, "Address for command line and agents")
      ->capture_default_str();
  command->add_option("--web-root", options->web_root, "Folder of the built console (default: the installed one)");
  command->add_option("--workflows", options->workflows, "Folder of workflow files (default: the installed ones)");
  command->add_option("--node-name", options->node_name, "Name of this machine in the console (default: the host's)");
  command->add_flag("--detach,-d", options->detach, "Leave both running and return");
  command->callback([&context, options] { context.action = [&context, options] { return up(context, *options); }; });

  const auto folder = std::make_shared<std::string>();
  auto* down_command = app.add_subcommand("down", "Stop what `slipway up` started");
  down_command->add_option("--data", *folder, "Folder that was given to `slipway up`");
  down_command->callback(
      [&context, folder] { context.action = [&context, folder] { return down(context, *folder); }; });
}

}  // namespace slipway::cli
