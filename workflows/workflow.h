// A workflow: the template of a guided path, as read from its YAML file. One file drives validation, the wizard's form,
// the command line's flags and what the engines are given. Used by service/.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace slipway::workflows {

// Keeps the order in which people wrote it.
using Json = nlohmann::ordered_json;

enum class ParameterType { kModel, kDataset, kString, kInteger, kNumber, kBoolean, kChoice };
std::string_view name_of(ParameterType type);

struct Choice {
  std::string value;
  std::string label;
  std::string help;
  Json gives;  // what templates see instead of `value`; null: the value itself
};

// A parameter counts only while another one, declared before it, has one of these values.
struct Condition {
  std::string parameter;            // of type choice or boolean
  std::vector<std::string> values;  // of its choices, or true or false
};

struct Parameter {
  std::string name;
  ParameterType type = ParameterType::kString;
  std::string label;
  std::string help;
  std::string unit;
  // Null: none. A string may be a template over the run and the parameters before it: ${run.slug}.
  Json default_value;
  bool required = false;
  bool advanced = false;
  std::optional<double> minimum;
  std::optional<double> maximum;
  std::vector<Choice> choices;
  // All of them must hold. While one does not, the parameter has no value: templates see null.
  std::vector<Condition> conditions;
  std::string step;
};

struct Step {
  std::string name;
  std::string title;
  std::string help;
};

struct TaskInput {
  Json artifact;     // template: an artifact's id; null: none
  std::string path;  // folder in the work folder
};

// A value of an engine's task that has succeeded: read from a returned file, or the last value of a metric that it
// reported (null when it reported none).
struct TaskResult {
  std::string name;
  std::string file;
  std::string pointer = {};  // JSON pointer (RFC 6901)
  std::string metric = {};   // in the place of file and pointer
};

struct Task {
  std::string name;
  std::string title;
  // prep, train, eval, quantize: an engine. gate, register, deploy: done by the backend.
  std::string kind;
  std::vector<std::string> needs;  // as written, and those that its templates refer to
  Json when;                       // template: false leaves the task out of the run. Null: always
  std::vector<TaskInput> inputs;   // of an engine
  Json spec;                       // of an engine: template of its spec
  Json nodes;                      // of training: template of how many nodes its ranks are spread over. Null: one
  Json with;                       // of the backend's: template of its settings
  std::vector<std::string> upload_artifacts;
  std::vector<std::string> return_files;
  std::vector<TaskResult> results;
};
bool is_engine(const std::string& kind);

struct Workflow {
  std::string name;
  std::string title;
  std::string description;
  std::string run_name;  // template of a run's name when none is given
  std::vector<Step> steps;
  std::vector<Parameter> parameters;
  std::vector<Task> tasks;  // needs before what needs them
  // Named results of a run: name -> template.
  std::vector<std::pair<std::string, Json>> results;

  const Parameter* find_parameter(const std::string& parameter_name) const;
  const Task* find_task(const std::string& task_name) const;
};

// Reads a workflow. The error lists everything that is wrong, one per line, each as FILE:LINE:COLUMN: what, what to do.
absl::StatusOr<Workflow> parse_workflow(const std::string& yaml, const std::string& file_name);

}  // namespace slipway::workflows
