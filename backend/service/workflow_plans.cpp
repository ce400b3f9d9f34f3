#include "backend/service/workflow_plans.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "backend/service/agent_link.h"
#include "backend/service/run_planning.h"
#include "backend/store/nodes.h"
#include "backend/store/runs.h"

namespace slipway::service {
namespace {

using workflows::Json;

std::string with_separators(int64_t number) {
  std::string text = std::to_string(number);
  for (int at = static_cast<int>(text.size()) - 3; at > 0; at -= 3) text.insert(static_cast<size_t>(at), ",");
  return text;
}

std::string gibibytes(int64_t bytes) { return absl::StrFormat("%.1f GiB", static_cast<double>(bytes) / (1 << 30)); }

// A word that a POSIX shell leaves as it is.
std::string shell_word(const std::string& text) {
  const bool plain = !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           std::string_view("-_./:@,+=").find(c) != std::string_view::npos;
  });
  if (plain) return text;
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::string flag_of(const std::string& parameter) {
  std::string flag = parameter;
  std::replace(flag.begin(), flag.end(), '_', '-');
  return "--" + flag;
}

std::string command_of(const workflows::Workflow& workflow, const workflows::CheckedParameters& checked,
                       const std::map<std::string, std::string>& given, const std::string& name) {
  std::string command = "slipway run start " + workflow.name;
  if (!name.empty()) command += " --name " + shell_word(name);
  for (const workflows::Parameter& parameter : workflow.parameters) {
    const auto typed = given.find(parameter.name);
    const auto text = checked.texts.find(parameter.name);
    if (typed == given.end() || text == checked.texts.end()) continue;
    const Json value = Json::parse(text->second);
    if (value == parameter.default_value) continue;
    command +=
        " " + flag_of(parameter.name) + " " + shell_word(value.is_string() ? value.get<std::string>() : value.dump());
  }
  return command;
}

void add_inputs(const PlannedRun& plan, std::vector<Consequence>& list) {
  for (const ModelVersionFacts& model : plan.models) {
    list.push_back({"Model", model.label + ", " + with_separators(model.parameter_count) + " parameters", "ok"});
  }
  for (const DatasetVersionFacts& data : plan.datasets) {
    const Json share = plan.checked.values.value("validation_share", Json());
    std::string rows = with_separators(data.row_count);
    if (share.is_number()) {
      const auto held_out = static_cast<int64_t>(std::round(share.get<double>() * static_cast<double>(data.row_count)));
      list.push_back(
          {"Rows", rows + ", about " + with_separators(held_out) + " held out", held_out >= 10 ? "ok" : "warning"});
      if (held_out < 10) {
        list.push_back({"Held-out rows", "too few for a figure that means much: raise the held-out share", "warning"});
      }
    } else {
      list.push_back({"Rows", rows, "ok"});
    }
  }
}

// How long the training is, for workflows whose parameters have the usual names.
void add_training(const PlannedRun& plan, std::vector<Consequence>& list) {
  const Json& values = plan.checked.values;
  const auto number = [&](const char* name) {
    const Json value = values.value(name, Json());
    return value.is_number() ? value.get<double>() : 0.0;
  };
  const double steps = number("max_steps"), epochs = number("num_train_epochs");
  const double tokens_per_step = number("per_device_train_batch_size") *
                                 std::max(1.0, number("gradient_accumulation_steps")) * number("max_length") *
                                 std::max(1.0, number("ranks"));
  if (steps > 0 && tokens_per_step > 0) {
    list.push_back({"Training",
                    with_separators(static_cast<int64_t>(steps)) + " steps at most, up to " +
                        with_separators(static_cast<int64_t>(steps * tokens_per_step)) + " tokens",
                    "ok"});
  } else if (epochs > 0 && !plan.datasets.empty()) {
    const double rows = static_cast<double>(plan.datasets.front().row_count) * (1 - number("validation_share"));
    list.push_back({"Training",
                    absl::StrFormat("%g", epochs) + (epochs == 1 ? " pass" : " passes") + " over about " +
                        with_separators(static_cast<int64_t>(std::round(rows))) + " rows",
                    "ok"});
  }
}

// Weights in 32 bits, and as much again for activations: a floor, not a promise.
void add_memory(const PlannedRun& plan, int64_t most_memory, std::vector<Consequence>& list) {
  for (const ModelVersionFacts& model : plan.models) {
    if (model.parameter_count <= 0) continue;
    const int64_t needed = model.parameter_count * 4 * 2;
    const bool fits = most_memory == 0 || needed < most_memory;
    std::string text = "at least " + gibibytes(needed);
    if (most_memory > 0) text += " of " + gibibytes(most_memory) + " on the largest node";
    list.push_back({"Memory", text, fits ? "ok" : "warning"});
  }
}

// nodes: how many the run asks for at once.
void add_queue(store::Connection& connection, int64_t nodes, std::vector<Consequence>& list, int64_t& most_memory) {
  int online = 0;
  std::string devices;
  for (const store::Node& node : store::all_nodes(connection)) {
    if (!node.online) continue;
    ++online;
    const NodeFacts facts = node_facts_from_json(node.facts);
    most_memory = std::max(most_memory, facts.memory_bytes);
    for (const DeviceFacts& device : facts.devices) {
      devices += (devices.empty() ? "" : ", ") + (device.name.empty() ? device.id : device.name) + " on " + facts.name;
    }
  }
  if (online == 0) {
    list.push_back({"Devices", "no node is online: the run will wait", "warning"});
  } else {
    list.push_back({"Devices", devices, "ok"});
  }
  if (nodes > std::max(1, online)) {
    list.push_back({"Nodes",
                    "it asks for " + with_separators(nodes) + " at once, and " + with_separators(online) +
                        (online == 1 ? " is" : " are") + " online: the run will wait",
                    "warning"});
  }
  const int64_t before = store::unfinished_runs_before(connection, "~");  // after every id
  list.push_back(
      {"Queue",
       before == 0 ? "starts at once" : with_separators(before) + (before == 1 ? " run" : " runs") + " before it",
       before == 0 ? "ok" : "warning"});
}

}  // namespace

absl::StatusOr<const workflows::Workflow*> WorkflowPlans::get(const std::string& name) const {
  const workflows::Workflow* workflow = catalogue_.find(name);
  if (workflow == nullptr) return base::not_found("workflow", name);
  return workflow;
}

absl::StatusOr<RunPreview> WorkflowPlans::preview(const std::string& workflow_name,
                                                  const std::map<std::string, std::string>& parameters,
                                                  const std::string& name) {
  const auto workflow = get(workflow_name);
  if (!workflow.ok()) return workflow.status();
  return database_.read([&](store::Connection& connection) -> absl::StatusOr<RunPreview> {
    const PlannedRun plan = plan_run(**workflow, parameters, name, registry_, connection);
    RunPreview preview;
    preview.violations = plan.checked.violations;
    preview.parameters = plan.checked.texts;
    preview.command = command_of(**workflow, plan.checked, parameters, name);
    preview.consequences.push_back({"Run", plan.checked.run_name, "ok"});
    add_inputs(plan, preview.consequences);
    add_training(plan, preview.consequences);
    std::vector<Consequence> queue;
    int64_t most_memory = 0;
    const Json nodes = plan.checked.values.value("nodes", Json());
    add_queue(connection, nodes.is_number() ? nodes.get<int64_t>() : 1, queue, most_memory);
    add_memory(plan, most_memory, preview.consequences);
    preview.consequences.insert(preview.consequences.end(), queue.begin(), queue.end());
    return preview;
  });
}

}  // namespace slipway::service
