// slipway-agent: one per node. Also its own supervisor process: `slipway-agent supervise FOLDER NUMBER`.
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <thread>

#include "agents/node/address.h"
#include "agents/node/attempts.h"
#include "agents/node/fingerprint.h"
#include "agents/node/nvml.h"
#include "agents/node/sampler.h"
#include "agents/node/session.h"
#include "agents/node/supervisor.h"
#include "backend/base/clock.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace {

namespace fs = std::filesystem;
using namespace slipway;  // NOLINT: the composition root

struct Options {
  std::string backend = "127.0.0.1:7879";
  std::string data;
  std::string join;
  std::string join_file;
  std::string name;
  std::string address;
  std::string engines;
  std::string tls_ca;
  std::string log_level = "info";
  double cache_gib = 100;
  bool stop_engines = false;
};

std::string default_data() {
  if (const char* data = std::getenv("XDG_DATA_HOME"); data != nullptr && *data != '\0') {
    return (fs::path(data) / "slipway-agent").string();
  }
  const char* home = std::getenv("HOME");
  return (fs::path(home == nullptr ? "/var/lib" : home) / ".local/share/slipway-agent").string();
}

bool is_loopback(const std::string& address) {
  const std::string host = address.substr(0, address.rfind(':'));
  return host == "localhost" || host == "[::1]" || host.rfind("127.", 0) == 0 || address.rfind("unix:", 0) == 0;
}

std::string read_token_file(const std::string& path) {
  try {
    std::string token = base::read_file(path, 4096);
    while (!token.empty() && std::isspace(static_cast<unsigned char>(token.back())) != 0) token.pop_back();
    return token;
  } catch (const base::Error&) {
    return "";  // not there yet: the backend may still be starting
  }
}

int run(const Options& options) {
  if (options.tls_ca.empty() && !is_loopback(options.backend)) {
    spdlog::error(
        "{} is another machine: give --tls-ca FILE with the backend's certificate, tokens do not travel in the clear",
        options.backend);
    return 2;
  }
  const fs::path data = fs::absolute(options.data.empty() ? default_data() : options.data);
  fs::create_directories(data);
  fs::permissions(data, fs::perms::owner_all);
  const node::Layout layout{data};
  const int lock = open(layout.lock().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) != 0) {
    spdlog::error("another slipway-agent works in {}: stop it, or give another folder with --data", data.string());
    return 1;
  }
  const fs::path self = fs::read_symlink("/proc/self/exe");

  // Signals are taken by one thread that waits for them; all others inherit this mask.
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, number);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);

  const base::SystemClock clock;
  const node::Nvml nvml;
  const auto channel = node::make_channel(options.backend, options.tls_ca);
  node::SessionOptions session_options;
  session_options.identity_file = layout.identity();
  session_options.join_token = [&] { return options.join.empty() ? read_token_file(options.join_file) : options.join; };
  session_options.join_token_may_change = options.join.empty() && !options.join_file.empty();
  const auto facts = node::read_facts(options.name, data, nvml, SLIPWAY_VERSION);
  node::Session session(channel, session_options, facts);
  const auto artifacts = node::make_grpc_artifacts(channel, [&] { return session.node_token(); });
  node::Transfer transfer(*artifacts, layout.cache(), static_cast<int64_t>(options.cache_gib * (1 << 30)));
  const node::Supervisor supervisor(self);
  node::Attempts attempts(
      {layout, options.engines.empty() ? self.parent_path() : fs::absolute(options.engines), supervisor, transfer,
       session, options.address.empty() ? node::address_towards(options.backend) : options.address, facts.cpu_cores()});
  node::Sampler sampler("/proc", data, nvml, clock);

  node::Cancellation cancellation;
  std::thread signal_thread([&] {
    int number = 0;
    sigwait(&signals, &number);
    spdlog::info("leaving signal={} engines={}", number, options.stop_engines ? "stopped" : "left running");
    cancellation.cancel();
  });
  spdlog::info("slipway-agent version={} backend={} data={} devices={}", SLIPWAY_VERSION, options.backend,
               data.string(), facts.devices_size());
  const auto verdict = session.run(
      attempts, [&] { return sampler.sample(); }, cancellation);
  if (!cancellation.cancelled()) kill(getpid(), SIGTERM);
  signal_thread.join();
  if (options.stop_engines) attempts.park(std::chrono::seconds(30));
  if (!verdict.ok()) {
    spdlog::error("{}", std::string(verdict.message()));
    return 1;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 4 && std::strcmp(argv[1], "supervise") == 0) return node::supervise_main(argv[2], std::atoi(argv[3]));

  Options options;
  CLI::App app{"slipway-agent: reports this machine to a Slipway backend and runs its engines."};
  app.add_option("--backend", options.backend, "gRPC address of slipwayd, HOST:PORT")->capture_default_str();
  app.add_option("--data", options.data,
                 "folder for work, cache and the node's token (default: " + default_data() + ")");
  auto* join = app.add_option("--join", options.join, "join token, needed once");
  app.add_option("--join-file", options.join_file, "file with a join token, as slipwayd's DATA/local-join-token")
      ->excludes(join);
  app.add_option("--name", options.name, "name of this node (default: the host's)");
  app.add_option("--address", options.address,
                 "name or address where other nodes reach this one, for training over several (default: the one that "
                 "faces the backend)");
  app.add_option("--engines", options.engines, "folder of slipway-prep, slipway-train, … (default: this program's)");
  app.add_option("--tls-ca", options.tls_ca, "certificates to trust, PEM; needed when the backend is another machine");
  app.add_option("--cache-gib", options.cache_gib, "most disk for downloaded files")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--log-level", options.log_level)
      ->capture_default_str()
      ->check(CLI::IsMember({"debug", "info", "warn", "error"}));
  app.add_flag("--stop-engines", options.stop_engines,
               "on leaving, stop the engines too (they save, and go on when the agent is back); else they run on");
  app.set_version_flag("--version", SLIPWAY_VERSION);
  CLI11_PARSE(app, argc, argv);
  spdlog::set_level(spdlog::level::from_str(options.log_level));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e %l %v");
  spdlog::flush_on(spdlog::level::info);
  try {
    return run(options);
  } catch (const std::exception& error) {
    spdlog::error("{}", error.what());
    return 1;
  }
}
