// The commands. Each add_ function hangs its subcommands below `app`; what was chosen is put into Context::action,
// which main runs after parsing.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "app/cli/client.h"
#include "app/cli/config.h"

namespace CLI {
class App;
}

namespace slipway::cli {

struct Context {
  Config config;
  std::string backend_flag, tls_ca_flag;
  bool json = false;
  std::function<Exit()> action;

  // Connects at the first call, after the flags are known.
  Client& client();

 private:
  std::unique_ptr<Client> client_;
};

void add_login(CLI::App& app, Context& context);
void add_models(CLI::App& app, Context& context);
void add_datasets(CLI::App& app, Context& context);
void add_workflows(CLI::App& app, Context& context);
void add_runs(CLI::App& app, Context& context);
void add_deployments(CLI::App& app, Context& context);
// Below `slipway run` and `slipway deployment`.
void add_sweeps(CLI::App& run, Context& context);
void add_adapters(CLI::App& deployment, Context& context);
void add_serving(CLI::App& deployment, Context& context);
void add_nodes(CLI::App& app, Context& context);
void add_up(CLI::App& app, Context& context);
void add_completion(CLI::App& app, Context& context);

// The whole command line, parsed and run. What goes to people and programs goes to stdout, errors to stderr.
int run_command_line(int argc, const char* const* argv);

// Reads a secret from stdin: hidden when it is a terminal.
std::string read_secret(const std::string& prompt);

}  // namespace slipway::cli
