// slipwayd: the backend. Reads the flags, puts all parts together, serves until SIGTERM. The only place that sees
// everything.
#include <pthread.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "backend/artifacts/artifact_store.h"
#include "backend/base/clock.h"
#include "backend/base/error.h"
#include "backend/base/files.h"
#include "backend/base/ids.h"
#include "backend/base/status.h"
#include "backend/rpc/agent_adapter.h"
#include "backend/rpc/artifact_adapter.h"
#include "backend/rpc/auth_adapter.h"
#include "backend/rpc/authenticator.h"
#include "backend/rpc/dataset_adapter.h"
#include "backend/rpc/deployment_adapter.h"
#include "backend/rpc/event_adapter.h"
#include "backend/rpc/gate.h"
#include "backend/rpc/model_adapter.h"
#include "backend/rpc/node_adapter.h"
#include "backend/rpc/run_adapter.h"
#include "backend/rpc/server.h"
#include "backend/rpc/worker_pool.h"
#include "backend/rpc/workflow_adapter.h"
#include "backend/service/auth.h"
#include "backend/service/conductor.h"
#include "backend/service/data_folder.h"
#include "backend/service/datasets.h"
#include "backend/service/deployment_keys.h"
#include "backend/service/deployments.h"
#include "backend/service/figures.h"
#include "backend/service/models.h"
#include "backend/service/nodes.h"
#include "backend/service/registry.h"
#include "backend/service/runs.h"
#include "backend/service/tokenizers.h"
#include "backend/service/watch.h"
#include "backend/service/workflow_plans.h"
#include "backend/store/database.h"
#include "backend/web/artifact_routes.h"
#include "backend/web/console_files.h"
#include "backend/web/json_gateway.h"
#include "backend/web/metrics.h"
#include "backend/web/openai_gateway.h"
#include "backend/web/server.h"
#include "backend/web/site.h"
#include "backend/web/workers.h"
#include "workflows/catalogue.h"

namespace slipway {
namespace {

constexpr int kWorkers = 8;
constexpr int kWebWorkers = 4;
constexpr int kShutdownGraceMs = 2000;
// What was uploaded and never registered, as after a refused import.
constexpr int64_t kKeepUnusedMs = int64_t{2} * 24 * 3600 * 1000;

struct Flags {
  std::filesystem::path data;
  std::string grpc_listen = "127.0.0.1:7879";
  std::string web_listen = "127.0.0.1:7878";
  std::filesystem::path web_root;
  std::filesystem::path workflows;
  std::filesystem::path tls_certificate;
  std::filesystem::path tls_key;
  std::vector<std::string> allowed_hosts;
  std::string log_level = "info";
};

std::filesystem::path home() {
  const char* folder = std::getenv("HOME");
  return folder == nullptr ? "." : folder;
}

// Beside an installed program, or else where the build has it.
std::filesystem::path shared_folder(const char* name, const char* in_sources) {
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  const auto installed = program.parent_path().parent_path() / "share" / "slipway" / name;
  return std::filesystem::is_directory(installed, error) ? installed : std::filesystem::path(in_sources);
}

// Exits on --help and wrong flags.
Flags read_flags(int argc, char** argv) {
  Flags flags;
  flags.data = home() / ".local/share/slipway";
  flags.web_root = shared_folder("web", SLIPWAY_UI_DIST);
  flags.workflows = shared_folder("workflows", SLIPWAY_WORKFLOWS);
  CLI::App app("slipwayd: Slipway's backend. Serves gRPC, the web console and the OpenAI API of deployments.");
  app.set_version_flag("--version", SLIPWAY_VERSION);
  app.add_option("--data", flags.data, "Folder that holds everything")->capture_default_str();
  app.add_option("--grpc-listen", flags.grpc_listen, "HOST:PORT for gRPC (port 0: any free one)")
      ->capture_default_str();
  app.add_option("--web-listen", flags.web_listen, "HOST:PORT for HTTP (port 0: any free one)")->capture_default_str();
  app.add_option("--web-root", flags.web_root, "Folder of the built web console")->capture_default_str();
  app.add_option("--workflows", flags.workflows, "Folder of the workflows' YAML files")->capture_default_str();
  auto* certificate = app.add_option("--tls-cert", flags.tls_certificate, "PEM file of the certificate chain")
                          ->check(CLI::ExistingFile);
  auto* key = app.add_option("--tls-key", flags.tls_key, "PEM file of its key")->check(CLI::ExistingFile);
  certificate->needs(key);
  key->needs(certificate);
  app.add_option("--allowed-host", flags.allowed_hosts,
                 "Further name by which browsers may reach the console without TLS");
  app.add_option("--log-level", flags.log_level, "debug, info, warning or error")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error) == 0 ? 0 : 2);
  }
  return flags;
}

int fail(const absl::Status& status) {
  const base::ErrorDetail detail = base::detail_of(status);
  std::fprintf(stderr, "slipwayd: %s\n", std::string(status.message()).c_str());
  if (!detail.advice.empty()) std::fprintf(stderr, "  %s\n", detail.advice.c_str());
  return 1;
}

absl::Status check_loopback(const std::string& flag, const std::string& address, bool tls) {
  std::string host;
  uint16_t port = 0;
  if (!web::split_address(address, host, port)) {
    return base::invalid_argument(flag, flag + ": '" + address + "' is no HOST:PORT", "write it like 127.0.0.1:7878");
  }
  if (tls || web::is_loopback_host(host)) return absl::OkStatus();
  return base::failed_precondition(
      "NEEDS_TLS",
      flag + ": " + host + " can be reached from other machines, and passwords would be readable on the way",
      "give --tls-cert and --tls-key, or listen on 127.0.0.1");
}

std::string with_port(const std::string& address, int port) {
  return address.substr(0, address.rfind(':') + 1) + std::to_string(port);
}

// The address that people type: this machine's name where it listens on all addresses.
std::string address_for_people(const std::string& address) {
  std::string host;
  uint16_t port = 0;
  if (!web::split_address(address, host, port) || (host != "0.0.0.0" && host != "::")) return address;
  char name[256] = {};
  if (gethostname(name, sizeof name - 1) != 0) return address;
  return std::string(name) + ":" + std::to_string(port);
}

// Blocks until SIGTERM or SIGINT. They are blocked in all threads, which are started after block_signals.
sigset_t block_signals() {
  std::signal(SIGPIPE, SIG_IGN);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

void raise_file_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

// What an agent of this machine joins with; the same over restarts.
absl::StatusOr<std::string> local_join_token(service::DataFolder& data) {
  const std::filesystem::path file = data.local_join_token_file();
  if (std::filesystem::exists(file)) {
    std::string token = base::read_file(file, 1000);
    while (!token.empty() && token.back() == '\n') token.pop_back();
    if (!token.empty()) return token;
  }
  const std::string token = base::random_secret();
  if (absl::Status status = data.write_secret(file, token); !status.ok()) return status;
  return token;
}

// The use cases, in the order in which they stand on each other.
struct Services {
  Services(store::Database& database, const base::Clock& clock, artifacts::ArtifactStore& store,
           const workflows::Catalogue& catalogue)
      : registry(store, clock),
        models(database, store, registry),
        tokenizers(database, registry),
        datasets(database, store, registry, tokenizers),
        conductor(registry),
        nodes(database, clock, conductor),
        plans(database, catalogue, registry),
        runs(database, clock, catalogue, registry, conductor, [this] { nodes.wake(); }),
        deployments(database, clock, registry, conductor, [this] { nodes.wake(); }),
        keys(database, clock),
        watches(database),
        auth(database, clock, &nodes, service::moderate_password_cost()) {}

  service::Registry registry;
  service::Models models;
  service::Tokenizers tokenizers;
  service::Datasets datasets;
  service::Conductor conductor;
  service::Nodes nodes;
  service::WorkflowPlans plans;
  service::Runs runs;
  service::Deployments deployments;
  service::DeploymentKeys keys;
  service::Watches watches;
  service::Auth auth;
};

// Their gRPC faces.
struct Adapters {
  Adapters(Services& services, artifacts::ArtifactStore& store, rpc::AuthAdapter::Options auth_options)
      : workers(kWorkers),
        authenticator(services.auth),
        gate{workers, authenticator},
        auth(gate, services.auth, std::move(auth_options)),
        artifacts(gate, store),
        models(gate, services.models, store),
        datasets(gate, services.datasets, store),
        workflows(gate, services.plans),
        runs(gate, services.runs),
        deployments(gate, services.deployments, services.keys),
        nodes(gate, services.nodes),
        agents(gate, services.nodes),
        events(gate, services.watches) {}

  std::vector<grpc::Service*> all() {
    return {&auth, &artifacts, &models, &datasets, &workflows, &runs, &deployments, &nodes, &agents, &events};
  }

  rpc::WorkerPool workers;
  rpc::Authenticator authenticator;
  rpc::Gate gate;
  rpc::AuthAdapter auth;
  rpc::ArtifactAdapter artifacts;
  rpc::ModelAdapter models;
  rpc::DatasetAdapter datasets;
  rpc::WorkflowAdapter workflows;
  rpc::RunAdapter runs;
  rpc::DeploymentAdapter deployments;
  rpc::NodeAdapter nodes;
  rpc::AgentAdapter agents;
  rpc::EventAdapter events;
};

absl::Status serve(const Flags& flags) {
  const sigset_t signals = block_signals();
  raise_file_limit();
  const bool tls = !flags.tls_certificate.empty();
  if (absl::Status status = check_loopback("--grpc-listen", flags.grpc_listen, tls); !status.ok()) return status;
  if (absl::Status status = check_loopback("--web-listen", flags.web_listen, tls); !status.ok()) return status;
  const std::string certificate = tls ? base::read_file(flags.tls_certificate, 1 << 20) : "";
  const std::string key = tls ? base::read_file(flags.tls_key, 1 << 20) : "";

  auto folder = service::DataFolder::open(flags.data);
  if (!folder.ok()) return folder.status();
  service::DataFolder& data = **folder;
  const base::SystemClock clock;
  auto database = store::Database::open(data.store_file(), clock);
  if (!database.ok()) return database.status();

  artifacts::ArtifactStore artifact_store(data.artifacts(), clock);
  auto catalogue = workflows::Catalogue::load(flags.workflows);
  if (!catalogue.ok()) return catalogue.status();
  Services services(**database, clock, artifact_store, *catalogue);
  const auto join_token = local_join_token(data);
  if (!join_token.ok()) return join_token.status();
  services.nodes.allow_join_token(*join_token);
  if (absl::Status status = services.runs.recover(); !status.ok()) return status;
  service::remove_unused_artifacts(**database, artifact_store, artifact_store.list_older_than(kKeepUnusedMs));

  auto web_server = web::WebServer::listen({flags.web_listen, certificate, key});
  if (!web_server.ok()) return web_server.status();
  const std::string web_address = with_port(flags.web_listen, (*web_server)->port());
  const std::string web_url = (tls ? "https://" : "http://") + address_for_people(web_address);

  Adapters adapters(services, artifact_store, {SLIPWAY_VERSION, web_url, tls, [&] {
                                                 std::error_code ignored;
                                                 std::filesystem::remove(data.setup_link_file(), ignored);
                                               }});
  auto grpc_server = rpc::Server::start({flags.grpc_listen, certificate, key}, adapters.all());
  if (!grpc_server.ok()) return grpc_server.status();
  const std::string grpc_address = with_port(flags.grpc_listen, (*grpc_server)->port());

  web::Workers web_workers(kWebWorkers);
  web::JsonGateway json_gateway((*grpc_server)->in_process_channel());
  web::ConsoleFiles console(flags.web_root, web_workers);
  web::ArtifactRoutes artifact_routes(services.auth, artifact_store, web_workers);
  web::OpenAiGateway openai((*web_server)->io(), services.auth, services.keys, services.deployments, web_workers);
  web::Metrics metrics(services.auth, web_workers, [&] {
    const auto figures = service::read_figures(**database);
    return figures.ok() ? service::figures_text(*figures) : std::string();
  });
  web::SiteParts parts;
  parts.api = &json_gateway;
  parts.artifacts = &artifact_routes;
  parts.openai = &openai;
  parts.console = &console;
  parts.metrics = &metrics;
  web::Site site(parts, tls, flags.allowed_hosts);
  (*web_server)->start(site, [&](const web::RequestHead& head, int status, int64_t milliseconds) {
    metrics.count(head, status, milliseconds);
    spdlog::debug("http method={} path={} status={} ms={}", head.method, head.path, status, milliseconds);
  });

  const auto needs_administrator = services.auth.needs_administrator();
  if (!needs_administrator.ok()) return needs_administrator.status();
  if (*needs_administrator) {
    const std::string link = web_url + "/setup?token=" + services.auth.start_setup();
    if (absl::Status status = data.write_secret(data.setup_link_file(), link); !status.ok()) return status;
    std::printf("Make the first administrator: %s\n", link.c_str());
  }
  if (absl::Status status = data.write_addresses(grpc_address, web_address, SLIPWAY_VERSION); !status.ok())
    return status;
  std::printf("Console: %s\ngRPC: %s\n", web_url.c_str(), grpc_address.c_str());
  std::fflush(stdout);
  spdlog::info("ready version={} web={} grpc={} data={}", SLIPWAY_VERSION, web_address, grpc_address,
               data.path().string());

  int signal = 0;
  sigwait(&signals, &signal);
  spdlog::info("stopping signal={}", signal);
  (*web_server)->stop();
  (*grpc_server)->shut_down(kShutdownGraceMs);
  web_workers.join();
  return absl::OkStatus();
}

}  // namespace
}  // namespace slipway

int main(int argc, char** argv) {
  const slipway::Flags flags = slipway::read_flags(argc, argv);
  spdlog::set_level(spdlog::level::from_str(flags.log_level));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %v", spdlog::pattern_time_type::utc);
  try {
    const absl::Status status = slipway::serve(flags);
    return status.ok() ? 0 : slipway::fail(status);
  } catch (const slipway::base::Error& error) {
    return slipway::fail(slipway::base::failed_precondition(error.code(), error.what(), error.advice()));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "slipwayd: %s\n", error.what());
    return 1;
  }
}
