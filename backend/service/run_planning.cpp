#include "backend/service/run_planning.h"

#include <algorithm>
#include <cctype>

#include "backend/base/status.h"
#include "workflows/template.h"

namespace slipway::service {
namespace {

using workflows::Json;

Json json_of(const ModelVersionFacts& facts) {
  return {{"id", facts.id},       {"name", facts.model_name},
          {"label", facts.label}, {"artifact_id", facts.artifact_id},
          {"path", facts.path},   {"context_length", facts.context_length}};
}

Json json_of(const DatasetVersionFacts& facts) {
  return {
      {"id", facts.id},     {"name", facts.dataset_name}, {"label", facts.label}, {"artifact_id", facts.artifact_id},
      {"path", facts.path}, {"format", facts.format},     {"roles", facts.roles}, {"row_count", facts.row_count}};
}

// Names that tasks will register or serve, checked now rather than after an hour of training.
void check_names(PlannedRun& plan, ModelRegistry& registry, store::Connection& connection) {
  const Json scope = {{"parameters", plan.checked.values}};
  for (const workflows::Task& task : plan.tasks) {
    if ((task.kind != "register" && task.kind != "deploy") || !task.with.contains("name")) continue;
    const Json& with_name = task.with["name"];
    const auto references = workflows::references_of(with_name);
    const auto name = workflows::fill_in(with_name, scope);
    if (!references.ok() || !name.ok() || !name->is_string()) continue;
    const std::string field = references->size() == 1 ? references->front() : "parameters";
    const std::string text = name->get<std::string>();
    if (task.kind == "register") {
      const absl::Status status = registry.check_model_name(connection, text);
      if (!status.ok()) {
        plan.checked.violations.push_back({field, std::string(status.message()), base::detail_of(status).advice});
      }
    } else if (!is_served_name(text)) {
      plan.checked.violations.push_back({field, "'" + text + "' cannot be the name of a deployment",
                                         "use letters, digits, '.', '_' and '-', at most 100"});
    }
  }
}

// Every node of a gang takes as many ranks.
void check_ranks(PlannedRun& plan) {
  const Json scope = {{"parameters", plan.checked.values}};
  for (const workflows::Task& task : plan.tasks) {
    if (task.nodes.is_null() || !task.spec.contains("parallel")) continue;
    const auto nodes = workflows::fill_in(task.nodes, scope),
               parallel = workflows::fill_in(task.spec["parallel"], scope);
    if (!nodes.ok() || !parallel.ok() || !nodes->is_number()) continue;
    const int64_t count = nodes->get<int64_t>(), ranks = parallel->value("ranks", int64_t{1});
    if (count >= 1 && ranks % count == 0) continue;
    const auto references = workflows::references_of(task.nodes);
    plan.checked.violations.push_back(
        {references.ok() && references->size() == 1 ? references->front() : "parameters",
         std::to_string(ranks) + " ranks cannot be spread evenly over " + std::to_string(count) + " nodes",
         "use as many ranks, or a multiple"});
  }
}

}  // namespace

bool is_served_name(const std::string& name) {
  const auto good = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' || c == '-';
  };
  return !name.empty() && name.size() <= 100 && std::isalnum(static_cast<unsigned char>(name[0])) != 0 &&
         std::all_of(name.begin(), name.end(), good);
}

PlannedRun plan_run(const workflows::Workflow& workflow, const std::map<std::string, std::string>& parameters,
                    const std::string& name, ModelRegistry& registry, store::Connection& connection) {
  PlannedRun plan;
  const auto resolve = [&](workflows::ParameterType type, const std::string& reference) -> absl::StatusOr<Json> {
    if (type == workflows::ParameterType::kDataset) {
      auto found = registry.find_dataset_version(connection, reference);
      if (!found.ok()) return found.status();
      plan.datasets.push_back(*found);
      return json_of(*found);
    }
    auto found = registry.find_model_version(connection, reference);
    if (!found.ok()) return found.status();
    if (found->adapter) {
      return base::invalid_argument("", found->label + " is an adapter", "choose the base model that it belongs to");
    }
    if (found->reward) {
      return base::invalid_argument("", found->label + " is a reward model: it scores texts and writes none",
                                    "choose the model that it was made from");
    }
    // Weights that are kept in few bits are for serving: nothing can be trained or rounded from them.
    const bool changes = std::any_of(workflow.tasks.begin(), workflow.tasks.end(),
                                     [](const auto& task) { return task.kind == "train" || task.kind == "quantize"; });
    if (changes && found->quantised) {
      return base::invalid_argument("", found->label + " is quantised already",
                                    "choose the model that it was made from");
    }
    plan.models.push_back(*found);
    return json_of(*found);
  };
  plan.checked = workflows::check_parameters(workflow, parameters, name, resolve);
  if (!plan.checked.violations.empty()) return plan;
  auto tasks = workflows::plan_tasks(workflow, plan.checked.values);
  if (tasks.ok()) {
    plan.tasks = *std::move(tasks);
    check_names(plan, registry, connection);
    check_ranks(plan);
  } else {
    plan.checked.violations.push_back(
        {"workflow", std::string(tasks.status().message()), "correct the workflow's YAML"});
  }
  return plan;
}

}  // namespace slipway::service
