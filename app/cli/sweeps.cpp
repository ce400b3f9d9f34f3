// slipway run sweep: several runs of a workflow whose parameters differ.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <sstream>

#include "app/cli/commands.h"
#include "app/cli/output.h"
#include "slipway/v1/run.grpc.pb.h"

namespace slipway::cli {
namespace {

struct SweepOptions {
  std::string workflow, name;
  std::vector<std::string> set, vary;
  int random_runs = 0;
  int64_t seed = 0;
};

std::pair<std::string, std::string> split_assignment(const std::string& text, const std::string& flag) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    throw Failure(Exit::kUsage, flag + " " + text + " is no PARAMETER=VALUE", "write it like " + flag + " r=8", flag);
  }
  return {text.substr(0, equals), text.substr(equals + 1)};
}

// 1e-4,3e-4 or 1e-5..1e-3; a wide range is drawn by order of magnitude.
v1::SweepAxis parse_axis(const std::string& text) {
  const auto [parameter, values] = split_assignment(text, "--vary");
  v1::SweepAxis axis;
  axis.set_parameter(parameter);
  if (const size_t dots = values.find(".."); dots != std::string::npos) {
    try {
      axis.set_minimum(std::stod(values.substr(0, dots)));
      axis.set_maximum(std::stod(values.substr(dots + 2)));
    } catch (const std::exception&) {
      throw Failure(Exit::kUsage, "--vary " + text + ": the ends of a range are numbers",
                    "write it like --vary learning_rate=1e-5..1e-3", "--vary");
    }
    axis.set_logarithmic(axis.minimum() > 0 && axis.maximum() / axis.minimum() > 100);
    return axis;
  }
  std::istringstream parts(values);
  for (std::string part; std::getline(parts, part, ',');) axis.add_values(part);
  return axis;
}

Exit sweep(Context& context, const SweepOptions& options) {
  v1::StartSweepRequest request;
  request.set_workflow(options.workflow);
  request.set_name(options.name);
  for (const std::string& text : options.set) {
    const auto [parameter, value] = split_assignment(text, "--set");
    (*request.mutable_parameters())[parameter] = value;
  }
  for (const std::string& text : options.vary) *request.add_axes() = parse_axis(text);
  request.set_random_runs(options.random_runs);
  request.set_seed(options.seed);
  auto& client = context.client();
  const auto stub = v1::RunService::NewStub(client.channel());
  const auto started = client.call(*stub, &v1::RunService::Stub::StartSweep, request);
  if (context.json) {
    std::cout << to_json(started) << '\n';
    return Exit::kOk;
  }
  std::cout << "Sweep " << started.sweep_id() << ": " << started.run_ids_size() << " runs\n"
            << "Follow them: slipway run list --filter sweep:" << started.sweep_id() << '\n';
  return Exit::kOk;
}

}  // namespace

void add_sweeps(CLI::App& run, Context& context) {
  const auto options = std::make_shared<SweepOptions>();
  auto* command =
      run.add_subcommand("sweep", "Start several runs whose parameters differ: every combination, or at random");
  command->add_option("WORKFLOW", options->workflow, "Name; slipway workflow list")->required();
  command->add_option("--set", options->set, "PARAMETER=VALUE for all of them; slipway workflow show names them");
  command->add_option("--vary", options->vary, "PARAMETER=VALUE,VALUE,… or, with --random, PARAMETER=LOW..HIGH")
      ->required();
  command->add_option("--random", options->random_runs, "Draw so many runs instead of every combination")
      ->check(CLI::Range(1, 500));
  command->add_option("--seed", options->seed, "The same seed draws the same runs")->capture_default_str();
  command->add_option("--name", options->name, "Name of the runs, each with its number after it");
  command->callback([&context, options] { context.action = [&context, options] { return sweep(context, *options); }; });
}

}  // namespace slipway::cli
