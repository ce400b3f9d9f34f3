// From a workflow and what a person typed to what a run will do: pure functions, called by service/ for the wizard's
// checks and when a run starts.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "backend/base/status.h"
#include "workflows/workflow.h"

namespace slipway::workflows {

// Finds a model or dataset version for its reference (id, name@version, name). The object must hold at least `id`, and
// whatever the templates refer to: artifact_id, path, name, label, format, …
using Resolve = std::function<absl::StatusOr<Json>(ParameterType type, const std::string& reference)>;

struct CheckedParameters {
  // parameters.NAME, with what is wrong and what to do.
  std::vector<base::FieldViolation> violations;
  // Checked values by name, defaults filled in; of models and datasets the object that Resolve gave. Null: not given.
  Json values = Json::object();
  // The same as JSON texts; models and datasets by their label.
  std::map<std::string, std::string> texts;
  std::string run_name;
};

// texts: JSON texts by parameter name; a bare word is taken for a string where one is wanted. Everything is checked at
// once.
CheckedParameters check_parameters(const Workflow& workflow, const std::map<std::string, std::string>& texts,
                                   const std::string& run_name, const Resolve& resolve);

// The tasks of a run with these parameter values: those whose `when` holds, with their needs among themselves.
absl::StatusOr<std::vector<Task>> plan_tasks(const Workflow& workflow, const Json& parameter_values);

// Lower case letters, digits and '-' from any text, at most 60; "run" when nothing is left.
std::string slug_of(const std::string& text);

// Workflows and tasks as JSON and back: a run keeps the tasks that it began with.
Json to_json(const Task& task);
Task task_from_json(const Json& json);

}  // namespace slipway::workflows
