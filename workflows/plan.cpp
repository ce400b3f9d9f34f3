#include "workflows/plan.h"

#include <algorithm>
#include <cctype>

#include "workflows/template.h"

namespace slipway::workflows {

absl::StatusOr<std::vector<Task>> plan_tasks(const Workflow& workflow, const Json& parameter_values) {
  const Json scope = {{"parameters", parameter_values}};
  std::vector<Task> planned;
  const auto is_planned = [&](const std::string& name) {
    return std::any_of(planned.begin(), planned.end(), [&](const Task& task) { return task.name == name; });
  };
  for (const Task& task : workflow.tasks) {
    if (!task.when.is_null()) {
      const auto when = fill_in(task.when, scope);
      if (!when.ok()) return when.status();
      if (when->is_null() || *when == Json(false)) continue;
    }
    planned.push_back(task);
    std::erase_if(planned.back().needs, [&](const std::string& need) { return !is_planned(need); });
  }
  return planned;
}

std::string slug_of(const std::string& text) {
  std::string slug;
  for (const char c : text) {
    const unsigned char byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) && byte < 128) {
      slug += static_cast<char>(std::tolower(byte));
    } else if (!slug.empty() && slug.back() != '-') {
      slug += '-';
    }
  }
  slug.resize(std::min<size_t>(slug.size(), 60));
  while (!slug.empty() && slug.back() == '-') slug.pop_back();
  return slug.empty() ? "run" : slug;
}

Json to_json(const Task& task) {
  Json json = {{"name", task.name},
               {"title", task.title},
               {"kind", task.kind},
               {"needs", task.needs},
               {"spec", task.spec},
               {"nodes", task.nodes},
               {"with", task.with},
               {"upload_artifacts", task.upload_artifacts},
               {"return_files", task.return_files},
               {"inputs", Json::array()},
               {"results", Json::array()}};
  for (const TaskInput& input : task.inputs)
    json["inputs"].push_back({{"artifact", input.artifact}, {"path", input.path}});
  for (const TaskResult& result : task.results) {
    json["results"].push_back(
        {{"name", result.name}, {"file", result.file}, {"pointer", result.pointer}, {"metric", result.metric}});
  }
  return json;
}

Task task_from_json(const Json& json) {
  Task task;
  task.name = json.at("name");
  task.title = json.at("title");
  task.kind = json.at("kind");
  task.needs = json.at("needs").get<std::vector<std::string>>();
  task.spec = json.at("spec");
  task.nodes = json.value("nodes", Json());
  task.with = json.at("with");
  task.upload_artifacts = json.at("upload_artifacts").get<std::vector<std::string>>();
  task.return_files = json.at("return_files").get<std::vector<std::string>>();
  for (const Json& input : json.at("inputs")) task.inputs.push_back({input.at("artifact"), input.at("path")});
  for (const Json& result : json.at("results")) {
    task.results.push_back({result.at("name"), result.at("file"), result.at("pointer"), result.value("metric", "")});
  }
  return task;
}

}  // namespace slipway::workflows
