// slipway-serve: by the engine contract with --spec, or from flags alone.
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <functional>

#include "agents/engine/serve/serve.h"
#include "agents/engine/serve/settings.h"
#include "agents/engine/spec/engine_main.h"
#include "agents/engine/spec/schema.h"
#include "backend/base/error.h"

namespace {

using namespace slipway;

std::atomic<bool> stop_requested{false};  // reached by the signal handler
std::atomic<bool> reload_requested{false};
void on_stop_signal(int) { stop_requested.store(true); }
void on_reload_signal(int) { reload_requested.store(true); }

void serve_settings(const serve::ServeSettings& settings, const std::atomic<bool>& stop,
                    const std::function<void(const std::string&)>& on_ready,
                    const std::function<void(int64_t)>& on_tick) {
  if (!settings.tls.key.empty()) std::signal(SIGHUP, on_reload_signal);
  serve::run_server(settings, stop, reload_requested, on_ready, on_tick);
}

int serve_from_spec(spec::EngineContext& context) {
  const serve::ServeSettings settings = serve::settings_from_spec(context.spec, context.workdir);
  serve_settings(
      settings, context.stop, [&](const std::string& url) { context.events.ready(url); },
      [&](int64_t tokens) { context.events.heartbeat(tokens); });
  return spec::kExitStopped;
}

int serve_from_flags(int argc, char** argv) {
  int status = spec::kExitSucceeded;
  const auto given = serve::spec_from_flags(argc, argv, status);
  if (!given) return status;
  std::signal(SIGTERM, on_stop_signal);
  std::signal(SIGINT, on_stop_signal);
  std::signal(SIGPIPE, SIG_IGN);
  try {
    const nlohmann::json checked =
        spec::parse_spec("serve", given->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    const serve::ServeSettings settings = serve::settings_from_spec(checked, std::filesystem::current_path());
    serve_settings(
        settings, stop_requested, [](const std::string& url) { std::printf("%s\n", url.c_str()), std::fflush(stdout); },
        [](int64_t) {});
    return spec::kExitSucceeded;
  } catch (const base::Error& error) {
    std::fprintf(stderr, "slipway-serve: %s: %s\n", error.code().c_str(), error.what());
    if (!error.advice().empty()) std::fprintf(stderr, "slipway-serve: %s\n", error.advice().c_str());
    return error.code() == base::kInvalidSpec ? spec::kExitWrongSpec : spec::kExitFailed;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "slipway-serve: %s\n", error.what());
    return spec::kExitFailed;
  }
}

}  // namespace

int main(int argc, char** argv) {
  spdlog::set_default_logger(spdlog::stderr_logger_mt("slipway-serve"));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %v", spdlog::pattern_time_type::utc);
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--spec") == 0 || std::strncmp(argv[i], "--spec=", 7) == 0 ||
        std::strcmp(argv[i], "--schema") == 0) {
      return spec::run_engine(argc, argv, "serve", serve_from_spec, true);
    }
  }
  return serve_from_flags(argc, argv);
}
