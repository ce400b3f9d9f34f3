// slipway deployment list|show|chat|key|stop|start|delete; adapters.cpp has load|unload|metrics, serving.cpp
// create|update
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <thread>

#include "app/cli/chat.h"
#include "app/cli/commands.h"
#include "app/cli/output.h"
#include "backend/base/clock.h"
#include "slipway/v1/auth.grpc.pb.h"
#include "slipway/v1/deployment.grpc.pb.h"

namespace slipway::cli {
namespace {

using Stub = v1::DeploymentService::Stub;

std::string state_of(const v1::Deployment& deployment) {
  std::string word = v1::DeploymentState_Name(deployment.state()).substr(17);
  std::transform(word.begin(), word.end(), word.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return word;
}

v1::Deployment get(const Client& client, Stub& stub, const std::string& id) {
  v1::GetDeploymentRequest request;
  request.set_id(id);
  return client.call(stub, &Stub::GetDeployment, request);
}

std::string web_url(const Client& client) {
  const auto stub = v1::AuthService::NewStub(client.channel());
  return client.call(*stub, &v1::AuthService::Stub::GetSetupState, v1::GetSetupStateRequest()).web_url();
}

Exit list_deployments(Context& context, const std::string& filter) {
  auto& client = context.client();
  const auto stub = v1::DeploymentService::NewStub(client.channel());
  v1::ListDeploymentsRequest request;
  request.mutable_page()->set_page_size(500);
  request.mutable_page()->set_filter(filter);
  v1::ListDeploymentsResponse all;
  do {
    auto page = client.call(*stub, &Stub::ListDeployments, request);
    all.mutable_deployments()->MergeFrom(page.deployments());
    *all.mutable_page() = page.page();
    request.mutable_page()->set_page_token(page.page().next_page_token());
  } while (!request.page().page_token().empty());
  if (context.json) {
    std::cout << to_json(all) << '\n';
    return Exit::kOk;
  }
  Table table({"NAME", "STATE", "MODEL", "SERVED AS", "MADE"});
  const int64_t now = base::SystemClock().now_ms();
  for (const auto& deployment : all.deployments()) {
    std::string names;
    for (const auto& name : deployment.served_names()) names += (names.empty() ? "" : ", ") + name;
    std::string state = state_of(deployment);
    if (!deployment.waiting_reason().empty()) state += " (" + deployment.waiting_reason() + ")";
    table.add({deployment.name(), state, deployment.model_label(), names, format_age(deployment.created_at(), now)});
  }
  table.print(
      std::cout,
      "No deployments yet. A fine-tune-and-deploy run makes one, or: slipway deployment create NAME --model MODEL");
  return Exit::kOk;
}

// "auto (bf16)"
std::string with_actual(const std::string& asked, const std::string& actual) {
  return actual.empty() || actual == asked ? asked : asked + " (" + actual + ")";
}

std::string cache_of(const v1::Deployment& deployment) {
  const int64_t tokens = deployment.limits().kv_cache_tokens();
  return deployment.settings().kv_cache_dtype() + (tokens > 0 ? ", " + format_count(tokens) + " tokens" : "");
}

void print_deployment(const Context& context, const v1::Deployment& deployment, const std::string& url) {
  if (context.json) {
    std::cout << to_json(deployment) << '\n';
    return;
  }
  Table facts({"", ""});
  facts.add({"Deployment", deployment.name()});
  facts.add({"Id", deployment.id()});
  facts.add({"State",
             state_of(deployment) + (deployment.waiting_reason().empty() ? "" : ", " + deployment.waiting_reason())});
  facts.add({"Model", deployment.model_label() + " (" + deployment.model_version_id() + ")"});
  if (!deployment.base_label().empty()) facts.add({"Base", deployment.base_label()});
  for (const auto& name : deployment.served_names()) facts.add({"Served as", name});
  for (const auto& adapter : deployment.adapters())
    facts.add({"Adapter", adapter.name() + ", " + adapter.model_label()});
  facts.add({"Weights", with_actual(deployment.settings().dtype(), deployment.limits().dtype())});
  facts.add({"KV cache", cache_of(deployment)});
  if (deployment.has_limits()) {
    facts.add({"Context", format_count(deployment.limits().max_model_len()) + " tokens"});
    facts.add({"Batch", format_count(deployment.limits().max_num_seqs()) + " requests, " +
                            format_count(deployment.limits().queue()) + " more may wait"});
  }
  if (!deployment.node_id().empty()) facts.add({"Node", deployment.node_id()});
  if (!deployment.error().message().empty()) {
    facts.add({"Error", deployment.error().message()});
    facts.add({"To do", deployment.error().advice()});
  }
  if (!url.empty()) facts.add({"OpenAI API", url + "/v1"});
  facts.print(std::cout, "");
  if (!url.empty() && deployment.served_names_size() > 0) {
    std::cout << "\nMake a key (slipway deployment key " << deployment.name() << "), then:\n  curl " << url
              << "/v1/chat/completions -H \"Authorization: Bearer $KEY\" -H 'Content-Type: application/json' \\\n"
              << "    -d '{\"model\": \"" << deployment.served_names(0)
              << "\", \"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}'\n";
  }
}

struct ChatOptions {
  std::string deployment, model, message, system;
  bool base = false;
  double temperature = -1;
  int max_tokens = 0;
};

Exit chat(Context& context, const ChatOptions& options) {
  auto& client = context.client();
  const auto stub = v1::DeploymentService::NewStub(client.channel());
  const auto deployment = get(client, *stub, options.deployment);
  ChatRequest request;
  request.web_url = web_url(client);
  request.token = client.config().token;
  request.tls_ca = client.config().tls_ca;
  request.temperature = options.temperature;
  request.max_tokens = options.max_tokens;
  request.model = options.model;
  if (request.model.empty()) {
    const int index = options.base ? 1 : 0;
    if (deployment.served_names_size() <= index) {
      throw Failure(Exit::kRefused,
                    options.base
                        ? "deployment '" + deployment.name() + "' serves no base model beside it"
                        : "deployment '" + deployment.name() + "' serves nothing: it is " + state_of(deployment),
                    "see: slipway deployment show " + deployment.name());
    }
    request.model = deployment.served_names(index);
  }
  if (!options.system.empty()) request.messages.push_back({"system", options.system});
  const auto ask = [&](const std::string& text) {
    request.messages.push_back({"user", text});
    const auto answer = stream_chat(request, [&](const std::string& piece) {
      if (!context.json) std::cout << piece << std::flush;
    });
    request.messages.push_back({"assistant", answer});
    if (context.json) {
      std::cout << nlohmann::ordered_json{{"model", request.model}, {"content", answer}}.dump(
                       -1, ' ', false, nlohmann::json::error_handler_t::replace)
                << '\n';
    } else {
      std::cout << '\n';
    }
  };
  if (!options.message.empty()) {
    ask(options.message);
    return Exit::kOk;
  }
  if (!is_terminal(STDIN_FILENO)) {
    const std::string text{std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
    ask(text);
    return Exit::kOk;
  }
  std::cerr << "Chat with " << request.model << ". Ctrl+D ends it; /new starts over.\n";
  std::string line;
  while (std::cerr << "\n> " && std::getline(std::cin, line)) {
    if (line == "/new") {
      request.messages.resize(options.system.empty() ? 0 : 1);
    } else if (!line.empty()) {
      ask(line);
    }
  }
  std::cerr << '\n';
  return Exit::kOk;
}

Exit make_key(Context& context, const std::string& id, const std::string& name) {
  auto& client = context.client();
  const auto stub = v1::DeploymentService::NewStub(client.channel());
  v1::CreateDeploymentKeyRequest request;
  request.set_deployment_id(get(client, *stub, id).id());
  request.set_name(name);
  const auto response = client.call(*stub, &Stub::CreateDeploymentKey, request);
  if (context.json) {
    std::cout << to_json(response) << '\n';
  } else {
    std::cout << response.secret() << '\n';
    if (is_terminal(STDERR_FILENO)) std::cerr << "This key is shown only now. Keep it safe.\n";
  }
  return Exit::kOk;
}

// Waits until it is ready, or has failed.
Exit wait_ready(Context& context, const std::string& id, int timeout_s) {
  auto& client = context.client();
  const auto stub = v1::DeploymentService::NewStub(client.channel());
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(timeout_s);
  while (true) {
    const auto deployment = get(client, *stub, id);
    if (deployment.state() == v1::DEPLOYMENT_STATE_READY) {
      print_deployment(context, deployment, web_url(client));
      return Exit::kOk;
    }
    if (deployment.state() == v1::DEPLOYMENT_STATE_FAILED || deployment.state() == v1::DEPLOYMENT_STATE_STOPPED) {
      throw Failure(Exit::kFailed,
                    "deployment '" + deployment.name() + "' is " + state_of(deployment) +
                        (deployment.error().message().empty() ? "" : ": " + deployment.error().message()),
                    deployment.error().advice(), "", deployment.error().code());
    }
    if (std::chrono::steady_clock::now() > deadline) {
      throw Failure(Exit::kUnavailable,
                    "deployment '" + deployment.name() + "' is still " + state_of(deployment) + " after " +
                        std::to_string(timeout_s) + " s",
                    "look at: slipway deployment show " + deployment.name());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
}

}  // namespace

void add_deployments(CLI::App& app, Context& context) {
  auto* deployment = app.add_subcommand("deployment", "Served models");
  deployment->require_subcommand(1);
  add_adapters(*deployment, context);
  add_serving(*deployment, context);

  const auto filter = std::make_shared<std::string>();
  auto* list = deployment->add_subcommand("list", "List deployments");
  list->add_option("--filter", *filter, "Words in the name; state:ready");
  list->callback(
      [&context, filter] { context.action = [&context, filter] { return list_deployments(context, *filter); }; });

  const auto id = std::make_shared<std::string>();
  const auto wait = std::make_shared<bool>(false);
  const auto timeout = std::make_shared<int>(300);
  auto* show = deployment->add_subcommand("show", "Show a deployment, and how to call it");
  show->add_option("DEPLOYMENT", *id, "Name or id")->required();
  show->add_flag("--wait", *wait, "Wait until it is ready; fails when it fails");
  show->add_option("--timeout", *timeout, "Seconds to wait")->capture_default_str();
  show->callback([&context, id, wait, timeout] {
    context.action = [&context, id, wait, timeout] {
      if (*wait) return wait_ready(context, *id, *timeout);
      auto& client = context.client();
      const auto stub = v1::DeploymentService::NewStub(client.channel());
      print_deployment(context, get(client, *stub, *id), web_url(client));
      return Exit::kOk;
    };
  });

  const auto chat_options = std::make_shared<ChatOptions>();
  auto* chat_command = deployment->add_subcommand("chat", "Chat with a deployment over the OpenAI API");
  chat_command->add_option("DEPLOYMENT", chat_options->deployment, "Name or id")->required();
  chat_command->add_option("--message,-m", chat_options->message,
                           "One message, one answer (else: a conversation, or standard input)");
  auto* base =
      chat_command->add_flag("--base", chat_options->base, "Ask the base model that is served beside the tuned one");
  chat_command->add_option("--model", chat_options->model, "Ask this served name")->excludes(base);
  chat_command->add_option("--system", chat_options->system, "System message");
  chat_command->add_option("--temperature", chat_options->temperature, "0: always the likeliest token")
      ->check(CLI::Range(0.0, 2.0));
  chat_command->add_option("--max-tokens", chat_options->max_tokens, "Longest answer")->check(CLI::PositiveNumber);
  chat_command->callback(
      [&context, chat_options] { context.action = [&context, chat_options] { return chat(context, *chat_options); }; });

  const auto key_of = std::make_shared<std::string>();
  const auto key_name = std::make_shared<std::string>("command line");
  auto* key = deployment->add_subcommand("key", "Make a key for applications; it is shown once");
  key->add_option("DEPLOYMENT", *key_of, "Name or id")->required();
  key->add_option("--name", *key_name, "What the key is for")->capture_default_str();
  key->callback([&context, key_of, key_name] {
    context.action = [&context, key_of, key_name] { return make_key(context, *key_of, *key_name); };
  });

  const auto stopped = std::make_shared<std::string>();
  auto* stop = deployment->add_subcommand("stop", "Free its devices; name and keys stay");
  stop->add_option("DEPLOYMENT", *stopped, "Name or id")->required();
  stop->callback([&context, stopped] {
    context.action = [&context, stopped] {
      auto& client = context.client();
      const auto stub = v1::DeploymentService::NewStub(client.channel());
      v1::StopDeploymentRequest request;
      request.set_id(get(client, *stub, *stopped).id());
      print_deployment(context, client.call(*stub, &Stub::StopDeployment, request), "");
      return Exit::kOk;
    };
  });

  const auto started = std::make_shared<std::string>();
  auto* start = deployment->add_subcommand("start", "Serve a stopped deployment again");
  start->add_option("DEPLOYMENT", *started, "Name or id")->required();
  start->callback([&context, started] {
    context.action = [&context, started] {
      auto& client = context.client();
      const auto stub = v1::DeploymentService::NewStub(client.channel());
      v1::StartDeploymentRequest request;
      request.set_id(get(client, *stub, *started).id());
      print_deployment(context, client.call(*stub, &Stub::StartDeployment, request), "");
      return Exit::kOk;
    };
  });

  const auto deleted = std::make_shared<std::string>();
  auto* remove = deployment->add_subcommand("delete", "Stop and forget a deployment, with its keys");
  remove->add_option("DEPLOYMENT", *deleted, "Name or id")->required();
  remove->callback([&context, deleted] {
    context.action = [&context, deleted] {
      auto& client = context.client();
      const auto stub = v1::DeploymentService::NewStub(client.channel());
      const auto found = get(client, *stub, *deleted);
      v1::DeleteDeploymentRequest request;
      request.set_id(found.id());
      client.call(*stub, &Stub::DeleteDeployment, request);
      if (!context.json) std::cout << "Deleted " << found.name() << ".\n";
      return Exit::kOk;
    };
  });
}

}  // namespace slipway::cli
