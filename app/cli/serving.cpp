// slipway deployment create|update: what is served, and how.
#include <CLI/CLI.hpp>
#include <functional>
#include <iostream>
#include <memory>
#include <vector>

#include "app/cli/commands.h"
#include "app/cli/output.h"
#include "slipway/v1/deployment.grpc.pb.h"

namespace slipway::cli {
namespace {

using Stub = v1::DeploymentService::Stub;

struct Serving {
  std::string name, model;
  std::vector<std::function<void(v1::ServingSettings&)>> changes;  // by the flags that were given
};

void add_flags(CLI::App& command, Serving& serving) {
  const auto text = [&](const char* flag, void (*set)(v1::ServingSettings&, const std::string&), const char* help) {
    command.add_option_function<std::string>(
        flag,
        [&serving, set](const std::string& value) {
          serving.changes.push_back([=](v1::ServingSettings& settings) { set(settings, value); });
        },
        help);
  };
  const auto number = [&](const char* flag, void (v1::ServingSettings::*set)(int64_t), const char* help) {
    command.add_option_function<int64_t>(
        flag,
        [&serving, set](int64_t value) {
          serving.changes.push_back([=](v1::ServingSettings& settings) { (settings.*set)(value); });
        },
        help);
  };
  text(
      "--dtype", [](v1::ServingSettings& settings, const std::string& value) { settings.set_dtype(value); },
      "Of the weights: auto, f32, bf16 (half the memory), int8 (a quarter, faster), int4 (an eighth, fastest, less "
      "exact)");
  text(
      "--kv-cache-dtype",
      [](v1::ServingSettings& settings, const std::string& value) { settings.set_kv_cache_dtype(value); },
      "Of what it remembers of a text: auto, f32, bf16, int8 (holds twice as much as bf16)");
  number("--max-model-len", &v1::ServingSettings::set_max_model_len, "Tokens of a prompt and its answer together");
  number("--max-num-seqs", &v1::ServingSettings::set_max_num_seqs, "Requests in one batch (else 64)");
  number("--queue", &v1::ServingSettings::set_queue, "Requests that may wait beyond them; more get 429 (else 256)");
  number("--kv-cache-tokens", &v1::ServingSettings::set_kv_cache_tokens, "Tokens that the cache holds in all");
  number("--threads", &v1::ServingSettings::set_threads, "Threads (else as many as the machine has cores)");
  number("--speculative-tokens", &v1::ServingSettings::set_speculative_tokens,
         "Tokens guessed from the text per step, at most 64; the answer stays the same (else none)");
}

Exit answer(const Context& context, const v1::Deployment& deployment) {
  std::cout << (context.json ? to_json(deployment)
                             : deployment.name() + " is to serve " + deployment.model_label() +
                                   "; when it does: slipway deployment show --wait " + deployment.name())
            << '\n';
  return Exit::kOk;
}

Exit create(Context& context, const Serving& serving) {
  auto& client = context.client();
  const auto stub = v1::DeploymentService::NewStub(client.channel());
  v1::CreateDeploymentRequest request;
  request.set_name(serving.name);
  request.set_model_version_id(serving.model);
  for (const auto& change : serving.changes) change(*request.mutable_settings());
  return answer(context, client.call(*stub, &Stub::CreateDeployment, request));
}

Exit update(Context& context, const Serving& serving) {
  auto& client = context.client();
  const auto stub = v1::DeploymentService::NewStub(client.channel());
  v1::UpdateDeploymentRequest request;
  request.set_id(serving.name);
  request.set_model_version_id(serving.model);
  if (!serving.changes.empty()) {
    // What no flag names stays as it is.
    v1::GetDeploymentRequest get;
    get.set_id(serving.name);
    *request.mutable_settings() = client.call(*stub, &Stub::GetDeployment, get).settings();
    for (const auto& change : serving.changes) change(*request.mutable_settings());
  }
  return answer(context, client.call(*stub, &Stub::UpdateDeployment, request));
}

}  // namespace

void add_serving(CLI::App& deployment, Context& context) {
  const auto made = std::make_shared<Serving>();
  auto* create_command = deployment.add_subcommand("create", "Serve a model");
  create_command->add_option("NAME", made->name, "What applications give as model")->required();
  create_command->add_option("--model", made->model, "NAME, NAME@VERSION or id")->required();
  add_flags(*create_command, *made);
  create_command->callback([&context, made] { context.action = [&context, made] { return create(context, *made); }; });

  const auto changed = std::make_shared<Serving>();
  auto* update_command = deployment.add_subcommand(
      "update", "Serve another version, or with other settings; calls are answered all the while");
  update_command->add_option("DEPLOYMENT", changed->name, "Name or id")->required();
  update_command->add_option("--model", changed->model, "NAME, NAME@VERSION or id (else as it is)");
  add_flags(*update_command, *changed);
  update_command->callback(
      [&context, changed] { context.action = [&context, changed] { return update(context, *changed); }; });
}

}  // namespace slipway::cli
