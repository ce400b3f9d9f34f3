// Reads a workflow's YAML: every problem at once, each with its place.
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "absl/strings/str_split.h"
#include "backend/base/status.h"
#include "workflows/template.h"
#include "workflows/workflow.h"

namespace slipway::workflows {
namespace {

constexpr int kMaxDepth = 32;
constexpr size_t kMaxNodes = 20'000;
const std::vector<std::string> kEngines = {"prep", "train", "eval", "quantize"};
const std::vector<std::string> kBackendKinds = {"gate", "register", "deploy"};
const std::vector<std::pair<std::string, ParameterType>> kTypes = {
    {"model", ParameterType::kModel},     {"dataset", ParameterType::kDataset}, {"string", ParameterType::kString},
    {"integer", ParameterType::kInteger}, {"number", ParameterType::kNumber},   {"boolean", ParameterType::kBoolean},
    {"choice", ParameterType::kChoice}};

bool contains(const std::vector<std::string>& list, const std::string& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

std::string joined(const std::vector<std::string>& items) {
  std::string text;
  for (const std::string& item : items) text += (text.empty() ? "" : ", ") + item;
  return text;
}

// Plain scalars as JSON reads them; quoted ones are strings.
Json scalar_to_json(const YAML::Node& node) {
  const std::string& text = node.Scalar();
  if (node.Tag() == "!") return text;
  if (text == "true") return true;
  if (text == "false") return false;
  if (text.empty() || text == "null" || text == "~") return {};
  int64_t integer = 0;
  const char* end = text.data() + text.size();
  if (const auto [rest, error] = std::from_chars(text.data(), end, integer); error == std::errc() && rest == end) {
    return integer;
  }
  double number = 0;
  if (const auto [rest, error] = std::from_chars(text.data(), end, number); error == std::errc() && rest == end) {
    return number;
  }
  return text;
}

class Parser {
 public:
  explicit Parser(const std::string& file_name) : file_name_(file_name) {}

  absl::StatusOr<Workflow> parse(const std::string& yaml) {
    try {
      const YAML::Node root = YAML::Load(yaml);
      if (root.IsMap()) {
        read_root(root);
      } else {
        problem(root, "a workflow is a mapping with name, title, parameters and tasks");
      }
    } catch (const YAML::Exception& exception) {
      problem_at(exception.mark, exception.msg);
    }
    if (problems_.empty()) return std::move(workflow_);
    return base::error(absl::StatusCode::kInvalidArgument, problems_,
                       {"INVALID_WORKFLOW", "", "correct " + file_name_});
  }

 private:
  void problem_at(const YAML::Mark& mark, const std::string& what) {
    problems_ += (problems_.empty() ? "" : "\n") + file_name_;
    if (!mark.is_null()) problems_ += ":" + std::to_string(mark.line + 1) + ":" + std::to_string(mark.column + 1);
    problems_ += ": " + what;
  }
  void problem(const YAML::Node& node, const std::string& what) { problem_at(node.Mark(), what); }

  // Complains about keys that are not `known` and about `required` ones that are missing.
  bool check_keys(const YAML::Node& node, const std::string& what, const std::vector<std::string>& required,
                  const std::vector<std::string>& optional) {
    if (!node.IsMap()) {
      problem(node, what + " is a mapping");
      return false;
    }
    std::set<std::string> seen;
    for (const auto& entry : node) {
      const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "";
      if (!contains(required, key) && !contains(optional, key)) {
        problem(entry.first,
                "unknown key '" + key + "' of " + what + "; known: " + joined(required) + ", " + joined(optional));
      }
      if (!seen.insert(key).second) problem(entry.first, "key '" + key + "' of " + what + " is given twice");
    }
    for (const std::string& key : required) {
      if (!seen.contains(key)) problem(node, what + " lacks '" + key + "'");
    }
    return true;
  }

  std::string text(const YAML::Node& parent, const char* key) {
    const YAML::Node node = parent[key];
    if (!node) return "";
    if (!node.IsScalar()) {
      problem(node, std::string("'") + key + "' is a text");
      return "";
    }
    return node.Scalar();
  }

  // A name that stands in addresses, flags and templates.
  std::string identifier(const YAML::Node& parent, const char* key) {
    std::string name = text(parent, key);
    const bool good = !name.empty() && name.size() <= 60 && std::all_of(name.begin(), name.end(), [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
    });
    if (parent[key] && !good) problem(parent[key], std::string("'") + key + "' is made of a-z, 0-9, '_' and '-'");
    return name;
  }

  bool boolean(const YAML::Node& parent, const char* key) {
    const YAML::Node node = parent[key];
    if (!node) return false;
    const Json value = to_json(node, 0);
    if (value.is_boolean()) return value.get<bool>();
    problem(node, std::string("'") + key + "' is true or false");
    return false;
  }

  std::optional<double> number(const YAML::Node& parent, const char* key) {
    const YAML::Node node = parent[key];
    if (!node) return std::nullopt;
    const Json value = to_json(node, 0);
    if (value.is_number()) return value.get<double>();
    problem(node, std::string("'") + key + "' is a number");
    return std::nullopt;
  }

  std::vector<std::string> texts(const YAML::Node& parent, const char* key) {
    std::vector<std::string> list;
    const YAML::Node node = parent[key];
    if (!node) return list;
    if (!node.IsSequence()) problem(node, std::string("'") + key + "' is a list of texts");
    for (const YAML::Node& item : node) {
      if (item.IsScalar()) {
        list.push_back(item.Scalar());
      } else {
        problem(item, std::string("'") + key + "' is a list of texts");
      }
    }
    return list;
  }

  Json to_json(const YAML::Node& node, int depth) {
    if (depth > kMaxDepth || ++nodes_ > kMaxNodes) {
      if (nodes_ <= kMaxNodes + 1) problem(node, "nested too deeply, or too large");
      nodes_ = kMaxNodes + 1;
      return {};
    }
    if (node.IsScalar()) return scalar_to_json(node);
    if (node.IsSequence()) {
      Json list = Json::array();
      for (const YAML::Node& item : node) list.push_back(to_json(item, depth + 1));
      return list;
    }
    if (node.IsMap()) {
      Json object = Json::object();
      for (const auto& entry : node) object[entry.first.Scalar()] = to_json(entry.second, depth + 1);
      return object;
    }
    return {};
  }

  void read_root(const YAML::Node& root) {
    check_keys(root, "a workflow", {"name", "title", "description", "run_name", "steps", "parameters", "tasks"},
               {"results"});
    workflow_.name = identifier(root, "name");
    workflow_.title = text(root, "title");
    workflow_.description = text(root, "description");
    workflow_.run_name = text(root, "run_name");
    for (const YAML::Node& node : root["steps"]) read_step(node);
    for (const YAML::Node& node : root["parameters"]) read_parameter(node);
    for (const YAML::Node& node : root["tasks"]) read_task(node);
    if (root["results"]) {
      if (!root["results"].IsMap()) return problem(root["results"], "'results' is a mapping of names to templates");
      for (const auto& entry : root["results"]) {
        Json value = to_json(entry.second, 0);
        check_references(entry.second, value, nullptr);
        workflow_.results.emplace_back(entry.first.Scalar(), std::move(value));
      }
    }
    check_references(root["run_name"], Json(workflow_.run_name), nullptr);
  }

  void read_step(const YAML::Node& node) {
    if (!check_keys(node, "a step", {"name", "title"}, {"help"})) return;
    workflow_.steps.push_back({identifier(node, "name"), text(node, "title"), text(node, "help")});
  }

  void read_parameter(const YAML::Node& node) {
    if (!check_keys(node, "a parameter", {"name", "type", "label", "help", "step"},
                    {"default", "unit", "required", "advanced", "minimum", "maximum", "choices", "for"})) {
      return;
    }
    Parameter parameter;
    parameter.name = identifier(node, "name");
    parameter.label = text(node, "label");
    parameter.help = text(node, "help");
    parameter.unit = text(node, "unit");
    parameter.step = text(node, "step");
    parameter.required = boolean(node, "required");
    parameter.advanced = boolean(node, "advanced");
    parameter.minimum = number(node, "minimum");
    parameter.maximum = number(node, "maximum");
    const std::string type = text(node, "type");
    const auto known = std::find_if(kTypes.begin(), kTypes.end(), [&](const auto& each) { return each.first == type; });
    if (known != kTypes.end()) {
      parameter.type = known->second;
    } else if (node["type"]) {
      problem(node["type"],
              "unknown type '" + type + "'; known: model, dataset, string, integer, number, boolean, choice");
    }
    if (workflow_.find_parameter(parameter.name) != nullptr) {
      problem(node["name"], "parameter '" + parameter.name + "' is declared twice");
    }
    const auto in_steps = [&](const Step& step) { return step.name == parameter.step; };
    if (node["step"] && std::none_of(workflow_.steps.begin(), workflow_.steps.end(), in_steps)) {
      problem(node["step"], "there is no step '" + parameter.step + "'");
    }
    if (parameter.minimum && parameter.maximum && *parameter.minimum > *parameter.maximum) {
      problem(node["minimum"], "the minimum is over the maximum");
    }
    read_choices(node, parameter);
    if (node["for"]) read_conditions(node["for"], parameter);
    if (node["default"]) read_default(node["default"], parameter);
    workflow_.parameters.push_back(std::move(parameter));
  }

  void read_choices(const YAML::Node& node, Parameter& parameter) {
    if ((parameter.type == ParameterType::kChoice) != static_cast<bool>(node["choices"])) {
      problem(node, "a parameter has 'choices' exactly when its type is choice");
      return;
    }
    for (const YAML::Node& choice : node["choices"]) {
      if (!check_keys(choice, "a choice", {"value", "label"}, {"help", "gives"})) continue;
      Json gives = choice["gives"] ? to_json(choice["gives"], 0) : Json();
      parameter.choices.push_back(
          {text(choice, "value"), text(choice, "label"), text(choice, "help"), std::move(gives)});
    }
  }

  // for: {method: [lora, dora], deploy: [true]}
  void read_conditions(const YAML::Node& node, Parameter& parameter) {
    if (!node.IsMap()) return problem(node, "'for' is a mapping of parameters to lists of values");
    for (const auto& entry : node) {
      const std::string name = entry.first.Scalar();
      const Parameter* other = workflow_.find_parameter(name);
      if (other == nullptr) {
        problem(entry.first, "there is no parameter '" + name + "' (before this place)");
        continue;
      }
      Condition condition{name, texts(node, name.c_str())};
      for (const std::string& value : condition.values) {
        const bool known = other->type == ParameterType::kBoolean
                               ? value == "true" || value == "false"
                               : std::any_of(other->choices.begin(), other->choices.end(),
                                             [&](const Choice& choice) { return choice.value == value; });
        if (!known) problem(entry.second, "'" + value + "' is no choice of parameter '" + name + "'");
      }
      parameter.conditions.push_back(std::move(condition));
    }
  }

  void read_default(const YAML::Node& node, Parameter& parameter) {
    parameter.default_value = to_json(node, 0);
    const Json& value = parameter.default_value;
    if (value.is_null()) return;
    const bool is_template = value.is_string() && value.get<std::string>().find("${") != std::string::npos;
    if (is_template) return check_references(node, value, nullptr);
    bool good = true;
    switch (parameter.type) {
      case ParameterType::kInteger:
        good = value.is_number_integer();
        break;
      case ParameterType::kNumber:
        good = value.is_number();
        break;
      case ParameterType::kBoolean:
        good = value.is_boolean();
        break;
      case ParameterType::kChoice:
        good = std::any_of(parameter.choices.begin(), parameter.choices.end(),
                           [&](const Choice& choice) { return value == choice.value; });
        break;
      default:
        good = value.is_string();
        break;
    }
    if (!good) problem(node, "the default is not of type " + std::string(name_of(parameter.type)));
    if (value.is_number() && ((parameter.minimum && value.get<double>() < *parameter.minimum) ||
                              (parameter.maximum && value.get<double>() > *parameter.maximum))) {
      problem(node, "the default is out of the declared range");
    }
  }

  void read_task(const YAML::Node& node) {
    if (!node.IsMap() || node["engine"]) {
      if (!check_keys(node, "an engine's task", {"name", "title", "engine", "spec"},
                      {"needs", "when", "inputs", "nodes", "upload_artifacts", "return_files", "results"})) {
        return;
      }
    } else {
      check_keys(node, "a task of the backend", {"name", "title", "does", "with"}, {"needs", "when", "results"});
    }
    Task task;
    task.name = identifier(node, "name");
    task.title = text(node, "title");
    task.kind = node["engine"] ? text(node, "engine") : text(node, "does");
    if (node["engine"] && !contains(kEngines, task.kind)) {
      problem(node["engine"], "unknown engine '" + task.kind + "'; known: " + joined(kEngines));
    }
    if (node["does"] && !contains(kBackendKinds, task.kind)) {
      problem(node["does"], "unknown work '" + task.kind + "'; known: " + joined(kBackendKinds));
    }
    if (workflow_.find_task(task.name) != nullptr) problem(node["name"], "task '" + task.name + "' is declared twice");
    task.upload_artifacts = texts(node, "upload_artifacts");
    task.return_files = texts(node, "return_files");
    for (const std::string& need : texts(node, "needs")) add_need(node["needs"], task, need);
    if (node["when"]) {
      task.when = to_json(node["when"], 0);
      check_references(node["when"], task.when, nullptr);
    }
    for (const YAML::Node& input : node["inputs"]) {
      if (!check_keys(input, "an input", {"artifact", "path"}, {})) continue;
      task.inputs.push_back({to_json(input["artifact"], 0), text(input, "path")});
      check_references(input["artifact"], task.inputs.back().artifact, &task);
    }
    if (node["spec"]) {
      task.spec = to_json(node["spec"], 0);
      check_references(node["spec"], task.spec, &task);
    }
    if (node["nodes"]) {
      task.nodes = to_json(node["nodes"], 0);
      check_references(node["nodes"], task.nodes, &task);
    }
    if (node["with"]) {
      task.with = to_json(node["with"], 0);
      check_references(node["with"], task.with, &task);
    }
    read_results(node, task);
    workflow_.tasks.push_back(std::move(task));
  }

  void read_results(const YAML::Node& node, Task& task) {
    if (task.kind == "register") task.results.push_back({"model_version", "", ""});
    if (task.kind == "deploy") task.results.push_back({"deployment", "", ""});
    for (const YAML::Node& result : node["results"]) {
      if (result.IsMap() && result["metric"]) {
        if (!check_keys(result, "a result", {"name", "metric"}, {})) continue;
        task.results.push_back({identifier(result, "name"), "", "", text(result, "metric")});
        continue;
      }
      if (!check_keys(result, "a result", {"name", "file", "pointer"}, {})) continue;
      TaskResult read{identifier(result, "name"), text(result, "file"), text(result, "pointer")};
      if (!contains(task.return_files, read.file)) {
        problem(result["file"], "'" + read.file + "' is not one of return_files");
      }
      try {
        const Json::json_pointer pointer(read.pointer);
      } catch (const Json::exception&) {
        problem(result["pointer"], "'" + read.pointer + "' is not a JSON pointer (/results/held_out)");
      }
      task.results.push_back(std::move(read));
    }
  }

  void add_need(const YAML::Node& node, Task& task, const std::string& need) {
    if (workflow_.find_task(need) == nullptr) {
      return problem(node, "task '" + need + "' does not come before '" + task.name + "'");
    }
    if (!contains(task.needs, need)) task.needs.push_back(need);
  }

  // task: whose template it is; it then needs the tasks that it refers to. Null: tasks may be referred to but not
  // needed.
  void check_references(const YAML::Node& node, const Json& value, Task* task) {
    const auto references = references_of(value);
    if (!references.ok()) return problem(node, std::string(references.status().message()));
    for (const std::string& reference : *references) {
      const std::vector<std::string> parts = absl::StrSplit(reference, '.');
      const std::string& root = parts[0];
      if (root == "run" && parts.size() == 2 && contains({"id", "name", "slug"}, parts[1])) continue;
      if (root == "parameters" && parts.size() >= 2) {
        const Parameter* parameter = workflow_.find_parameter(parts[1]);
        if (parameter == nullptr) {
          problem(node, "${" + reference + "}: there is no parameter '" + parts[1] + "' (before this place)");
        } else if (parts.size() > 2 && parameter->type != ParameterType::kModel &&
                   parameter->type != ParameterType::kDataset) {
          problem(node, "${" + reference + "}: only models and datasets have fields");
        }
        continue;
      }
      if (root == "tasks" && parts.size() == 4) {
        check_task_reference(node, reference, parts, task);
        continue;
      }
      problem(node, "${" + reference +
                        "} is none of run.{id,name,slug}, parameters.NAME, tasks.NAME.artifacts.NAME, "
                        "tasks.NAME.results.NAME");
    }
  }

  void check_task_reference(const YAML::Node& node, const std::string& reference, const std::vector<std::string>& parts,
                            Task* task) {
    const Task* other = workflow_.find_task(parts[1]);
    if (other == nullptr) {
      return problem(node, "${" + reference + "}: task '" + parts[1] + "' does not come before this place");
    }
    const auto is_result = [&](const TaskResult& result) { return result.name == parts[3]; };
    const bool known = parts[2] == "artifacts" ? contains(other->upload_artifacts, parts[3])
                       : parts[2] == "results" ? std::any_of(other->results.begin(), other->results.end(), is_result)
                                               : false;
    if (!known) problem(node, "${" + reference + "}: task '" + parts[1] + "' declares no such thing");
    if (task != nullptr) add_need(node, *task, parts[1]);
  }

  std::string file_name_;
  Workflow workflow_;
  std::string problems_;
  size_t nodes_ = 0;
};

}  // namespace

std::string_view name_of(ParameterType type) { return kTypes[static_cast<size_t>(type)].first; }

bool is_engine(const std::string& kind) { return contains(kEngines, kind) || kind == "serve"; }

const Parameter* Workflow::find_parameter(const std::string& parameter_name) const {
  for (const Parameter& parameter : parameters) {
    if (parameter.name == parameter_name) return &parameter;
  }
  return nullptr;
}

const Task* Workflow::find_task(const std::string& task_name) const {
  for (const Task& task : tasks) {
    if (task.name == task_name) return &task;
  }
  return nullptr;
}

absl::StatusOr<Workflow> parse_workflow(const std::string& yaml, const std::string& file_name) {
  return Parser(file_name).parse(yaml);
}

}  // namespace slipway::workflows
