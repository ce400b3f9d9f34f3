// slipway deployment load|unload|metrics: adapters of a deployment, and what it measures.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <sstream>

#include "app/cli/commands.h"
#include "app/cli/output.h"
#include "backend/base/clock.h"
#include "slipway/v1/deployment.grpc.pb.h"

namespace slipway::cli {
namespace {

using Stub = v1::DeploymentService::Stub;
constexpr int64_t kRecentSeconds = 60;

Exit load(Context& context, const std::string& deployment, const std::string& model, const std::string& name) {
  auto& client = context.client();
  const auto stub = v1::DeploymentService::NewStub(client.channel());
  v1::LoadAdapterRequest request;
  request.set_deployment_id(deployment);
  request.set_model_version_id(model);
  request.set_name(name.empty() ? model.substr(0, model.find('@')) : name);
  const auto changed = client.call(*stub, &Stub::LoadAdapter, request);
  std::cout << (context.json ? to_json(changed)
                             : "Adapter " + request.name() + " is being loaded into " + changed.name())
            << '\n';
  return Exit::kOk;
}

Exit unload(Context& context, const std::string& deployment, const std::string& name) {
  auto& client = context.client();
  const auto stub = v1::DeploymentService::NewStub(client.channel());
  v1::UnloadAdapterRequest request;
  request.set_deployment_id(deployment);
  request.set_name(name);
  const auto changed = client.call(*stub, &Stub::UnloadAdapter, request);
  std::cout << (context.json ? to_json(changed) : "Adapter " + name + " is unloaded") << '\n';
  return Exit::kOk;
}

std::string milliseconds(bool known, double seconds) {
  if (!known) return "-";
  std::ostringstream text;
  text.precision(3);
  text << seconds * 1000 << " ms";
  return text.str();
}

Exit metrics(Context& context, const std::string& deployment) {
  auto& client = context.client();
  const auto stub = v1::DeploymentService::NewStub(client.channel());
  v1::ListDeploymentSamplesRequest request;
  request.set_deployment_id(deployment);
  request.mutable_since()->set_seconds(base::SystemClock().now_ms() / 1000 - kRecentSeconds);
  request.set_max_points(3);
  const auto samples = client.call(*stub, &Stub::ListDeploymentSamples, request);
  if (context.json) {
    std::cout << to_json(samples) << '\n';
    return Exit::kOk;
  }
  Table table({"", ""});
  if (samples.samples_size() > 0) {
    const auto& now = samples.samples(samples.samples_size() - 1);
    const auto& first = now.time_to_first_token();
    const auto& between = now.inter_token();
    table.add({"Generated tokens/s", std::to_string(static_cast<int64_t>(now.generation_tokens_per_second()))});
    table.add({"Prompt tokens/s", std::to_string(static_cast<int64_t>(now.prompt_tokens_per_second()))});
    table.add({"Running, waiting", std::to_string(now.running()) + ", " + std::to_string(now.waiting())});
    table.add({"First token, p50 and p99",
               milliseconds(first.has_p50(), first.p50()) + ", " + milliseconds(first.has_p99(), first.p99())});
    table.add({"Between tokens, p50 and p99",
               milliseconds(between.has_p50(), between.p50()) + ", " + milliseconds(between.has_p99(), between.p99())});
    table.add({"KV cache in use", std::to_string(static_cast<int>(now.kv_cache_usage() * 100)) + " %"});
    table.add({"Memory", std::to_string(now.memory_bytes() >> 20) + " MiB"});
  }
  table.print(std::cout, "Nothing was measured in the last minute: see slipway deployment show " + deployment);
  return Exit::kOk;
}

}  // namespace

void add_adapters(CLI::App& deployment, Context& context) {
  const auto into = std::make_shared<std::string>();
  const auto model = std::make_shared<std::string>();
  const auto name = std::make_shared<std::string>();
  auto* load_command = deployment.add_subcommand("load", "Serve a further adapter of a deployment's base");
  load_command->add_option("DEPLOYMENT", *into, "Name or id")->required();
  load_command->add_option("MODEL", *model, "The adapter: id, name or name@version")->required();
  load_command->add_option("--name", *name, "What applications give as model (default: the adapter's name)");
  load_command->callback([&context, into, model, name] {
    context.action = [&context, into, model, name] { return load(context, *into, *model, *name); };
  });

  const auto from = std::make_shared<std::string>();
  const auto unloaded = std::make_shared<std::string>();
  auto* unload_command = deployment.add_subcommand("unload", "Stop serving an adapter that was loaded");
  unload_command->add_option("DEPLOYMENT", *from, "Name or id")->required();
  unload_command->add_option("NAME", *unloaded, "The name it is served under")->required();
  unload_command->callback([&context, from, unloaded] {
    context.action = [&context, from, unloaded] { return unload(context, *from, *unloaded); };
  });

  const auto measured = std::make_shared<std::string>();
  auto* metrics_command = deployment.add_subcommand("metrics", "Show what a deployment measures now");
  metrics_command->add_option("DEPLOYMENT", *measured, "Name or id")->required();
  metrics_command->callback(
      [&context, measured] { context.action = [&context, measured] { return metrics(context, *measured); }; });
}

}  // namespace slipway::cli
