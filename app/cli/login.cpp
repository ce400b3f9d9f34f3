// slipway login: signs in once and keeps an API token for this user of the machine.
#include <termios.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <iostream>

#include "app/cli/commands.h"
#include "app/cli/output.h"
#include "slipway/v1/auth.grpc.pb.h"

namespace slipway::cli {
namespace {

using Stub = v1::AuthService::Stub;

struct Options {
  std::string user, setup_token, token_name;
  bool password_from_stdin = false;
};

std::string machine_name() {
  char host[128] = "this machine";
  gethostname(host, sizeof host - 1);
  return host;
}

// The token of the link http://HOST/setup?token=…, or the token itself.
std::string token_of(const std::string& link) {
  const size_t position = link.find("token=");
  return position == std::string::npos
             ? link
             : link.substr(position + 6, link.find_first_of("&# \n", position) - position - 6);
}

Exit login(Context& context, Options options) {
  auto& client = context.client();
  const auto stub = v1::AuthService::NewStub(client.channel());
  const auto setup = client.call(*stub, &Stub::GetSetupState, v1::GetSetupStateRequest());
  if (setup.needs_administrator() && options.setup_token.empty()) {
    throw Failure(Exit::kNotSignedIn, "this backend has no administrator yet",
                  "open the link that slipwayd printed at its first start (also in DATA/setup-link), or give it here "
                  "with --setup-token");
  }
  if (options.user.empty()) {
    if (options.password_from_stdin || !is_terminal(STDIN_FILENO)) {
      throw Failure(Exit::kUsage, "no user is named", "give --user NAME");
    }
    std::cerr << "User: ";
    std::getline(std::cin, options.user);
  }
  std::string password;
  if (options.password_from_stdin) {
    std::getline(std::cin, password);
  } else {
    password = read_secret(options.setup_token.empty() ? "Password: " : "New password (at least 10 characters): ");
  }
  if (!options.setup_token.empty()) {
    v1::CompleteSetupRequest request;
    request.set_setup_token(token_of(options.setup_token));
    request.set_user_name(options.user);
    request.set_password(password);
    client.call(*stub, &Stub::CompleteSetup, request);
  }
  v1::SignInRequest request;
  request.set_user_name(options.user);
  request.set_password(password);
  request.set_api_token_name(options.token_name.empty() ? "slipway on " + machine_name() : options.token_name);
  const auto response = client.call(*stub, &Stub::SignIn, request);
  Config config = client.config();
  config.token = response.api_token();
  config.user = response.user().name();
  save_config(config, config_path());
  if (context.json) {
    std::cout << to_json(response.user()) << '\n';
  } else {
    std::cout << "Signed in at " << config.backend << " as " << config.user << ". The console is at " << setup.web_url()
              << "\n";
  }
  return Exit::kOk;
}

Exit who(Context& context) {
  auto& client = context.client();
  const auto stub = v1::AuthService::NewStub(client.channel());
  const auto user = client.call(*stub, &Stub::GetCurrentUser, v1::GetCurrentUserRequest());
  if (context.json) {
    std::cout << to_json(user) << '\n';
  } else {
    std::cout << user.name() << (user.administrator() ? " (administrator)" : "") << " at " << client.config().backend
              << '\n';
  }
  return Exit::kOk;
}

Exit logout(Context& context) {
  Config config = load_config(config_path());
  if (!config.token.empty()) {
    auto& client = context.client();
    const auto stub = v1::AuthService::NewStub(client.channel());
    try {
      client.call(*stub, &Stub::SignOut, v1::SignOutRequest());
    } catch (const Failure& failure) {
      if (failure.exit() != Exit::kNotSignedIn) throw;  // else it is void already
    }
  }
  config.token.clear();
  config.user.clear();
  save_config(config, config_path());
  if (!context.json) std::cout << "Signed out.\n";
  return Exit::kOk;
}

}  // namespace

std::string read_secret(const std::string& prompt) {
  const bool terminal = is_terminal(STDIN_FILENO);
  termios before{};
  if (terminal) {
    std::cerr << prompt;
    tcgetattr(STDIN_FILENO, &before);
    termios hidden = before;
    hidden.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
  }
  std::string secret;
  std::getline(std::cin, secret);
  if (terminal) {
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
    std::cerr << '\n';
  }
  return secret;
}

void add_login(CLI::App& app, Context& context) {
  const auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand("login", "Sign in and keep an API token for later commands");
  command->add_option("--user,-u", options->user, "Name of the user");
  command->add_flag("--password-stdin", options->password_from_stdin, "Read the password from standard input");
  command->add_option("--setup-token", options->setup_token,
                      "Make the first administrator: the one-time link that slipwayd printed, or its token");
  command->add_option("--token-name", options->token_name, "What the token is called in the console");
  command->callback([&context, options] { context.action = [&context, options] { return login(context, *options); }; });
  auto* whoami = app.add_subcommand("whoami", "Show who is signed in, and where");
  whoami->callback([&context] { context.action = [&context] { return who(context); }; });
  auto* out = app.add_subcommand("logout", "Forget the API token");
  out->callback([&context] { context.action = [&context] { return logout(context); }; });
}

}  // namespace slipway::cli
