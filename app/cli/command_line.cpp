// The whole command line: global flags, the commands, errors and exit statuses.
#include <CLI/CLI.hpp>
#include <exception>
#include <iostream>

#include "app/cli/commands.h"
#include "app/cli/failure.h"

namespace slipway::cli {

Client& Context::client() {
  if (!client_) {
    if (!backend_flag.empty()) {
      // A token is for the backend that gave it, unless it was given for this very call.
      if (backend_flag != config.backend && std::getenv("SLIPWAY_TOKEN") == nullptr) config.token.clear();
      config.backend = backend_flag;
    }
    if (!tls_ca_flag.empty()) config.tls_ca = tls_ca_flag;
    client_ = std::make_unique<Client>(config);
  }
  return *client_;
}

int run_command_line(int argc, const char* const* argv) {
  Context context;
  CLI::App app{"Slipway from the command line: models, datasets, runs, deployments, nodes.", "slipway"};
  app.add_option("--backend", context.backend_flag,
                 "gRPC address of slipwayd, HOST:PORT (default: of `slipway login`, or SLIPWAY_BACKEND)");
  app.add_option("--tls-ca", context.tls_ca_flag,
                 "Certificates to trust, PEM; needed when the backend is another machine");
  app.add_flag("--json", context.json, "Answers as JSON, for programs; errors too");
  app.set_version_flag("--version", SLIPWAY_VERSION);
  app.fallthrough();
  app.require_subcommand(1);
  app.footer(
      "Exit status: 0 done; 1 failed, or the watched run failed; 2 flags or values are wrong; 3 not signed in; 4 not "
      "found;\n"
      "5 no backend or deployment answers; 6 refused in this state; 7 the watched run was cancelled.\n"
      "Environment: SLIPWAY_BACKEND, SLIPWAY_TOKEN, SLIPWAY_CONFIG (file of the sign-in).");
  add_login(app, context);
  add_models(app, context);
  add_datasets(app, context);
  add_workflows(app, context);
  add_runs(app, context);
  add_deployments(app, context);
  add_nodes(app, context);
  add_up(app, context);
  add_completion(app, context);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {  // --help, --version
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    const Failure failure(Exit::kUsage, error.what(), "see: slipway --help, or --help after a command");
    std::cerr << (context.json ? failure.json() : failure.text()) << '\n';
    return static_cast<int>(Exit::kUsage);
  }
  try {
    context.config = load_config(config_path());
    return static_cast<int>(context.action());
  } catch (const Failure& failure) {
    std::cout << std::flush;
    std::cerr << (context.json ? failure.json() : failure.text()) << '\n';
    return static_cast<int>(failure.exit());
  } catch (const std::exception& error) {
    std::cerr << "slipway: error: " << error.what() << '\n';
    return static_cast<int>(Exit::kFailed);
  }
}

}  // namespace slipway::cli
