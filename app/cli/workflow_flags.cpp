#include "app/cli/workflow_flags.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "app/cli/failure.h"
#include "app/cli/output.h"

namespace slipway::cli {
namespace {

// `text` as the JSON text of a value of this type; nothing when it is not one.
std::optional<std::string> as_json(const v1::WorkflowParameter& parameter, const std::string& text) {
  const auto value = nlohmann::json::parse(text, nullptr, false);
  if (parameter.type() == "integer") {
    if (value.is_number_integer()) return text;
    return std::nullopt;
  }
  if (parameter.type() == "number") {
    if (value.is_number()) return text;
    return std::nullopt;
  }
  if (parameter.type() == "boolean") {
    if (text == "true" || text == "yes" || text == "on" || text == "1") return "true";
    if (text == "false" || text == "no" || text == "off" || text == "0") return "false";
    return std::nullopt;
  }
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string placeholder(const v1::WorkflowParameter& parameter) {
  if (parameter.type() == "model" || parameter.type() == "dataset") return "NAME[@VERSION]";
  if (parameter.type() == "integer") return "N";
  if (parameter.type() == "number") return "X";
  if (parameter.type() == "choice") {
    std::string all;
    for (const auto& choice : parameter.choices()) all += (all.empty() ? "" : "|") + choice.value();
    return all;
  }
  return "TEXT";
}

std::string default_of(const v1::WorkflowParameter& parameter) {
  if (parameter.required()) return "required";
  if (parameter.default_json().empty()) return "";
  const auto value = nlohmann::json::parse(parameter.default_json(), nullptr, false);
  return "default: " + (value.is_string() ? value.get<std::string>() : parameter.default_json());
}

std::string bounds_of(const v1::WorkflowParameter& parameter) {
  const auto number = [](double value) {
    std::ostringstream text;
    text.precision(12);
    text << value;
    return text.str();
  };
  if (parameter.has_minimum() && parameter.has_maximum())
    return number(parameter.minimum()) + " to " + number(parameter.maximum());
  if (parameter.has_minimum()) return "at least " + number(parameter.minimum());
  if (parameter.has_maximum()) return "at most " + number(parameter.maximum());
  return "";
}

// Wrapped to `width` columns, every line after `indent` spaces.
std::string wrapped(const std::string& text, size_t indent, size_t width) {
  std::istringstream words(text);
  std::string word, line, result;
  const std::string margin(indent, ' ');
  while (words >> word) {
    if (!line.empty() && line.size() + 1 + word.size() > width - indent) {
      result += margin + line + "\n";
      line.clear();
    }
    line += (line.empty() ? "" : " ") + word;
  }
  if (!line.empty()) result += margin + line + "\n";
  return result;
}

std::string describe(const v1::WorkflowParameter& parameter) {
  std::string flag = parameter.type() == "boolean"
                         ? flag_of(parameter.name()) + ", --no-" + flag_of(parameter.name()).substr(2)
                         : flag_of(parameter.name()) + " " + placeholder(parameter);
  std::string facts = default_of(parameter);
  for (const auto& more : {parameter.unit(), bounds_of(parameter)}) {
    if (!more.empty()) facts += (facts.empty() ? "" : "; ") + more;
  }
  for (const auto& condition : parameter.conditions()) {
    std::string values;
    for (const std::string& value : condition.values()) values += (values.empty() ? "" : " or ") + value;
    facts += (facts.empty() ? "with " : "; with ") + flag_of(condition.parameter()) + " " + values;
  }
  std::string text = "  " + flag + (facts.empty() ? "" : "  (" + facts + ")") + "\n";
  return text + wrapped(parameter.label() + ". " + parameter.help(), 6, 100);
}

}  // namespace

std::string flag_of(const std::string& parameter) {
  std::string flag = "--" + parameter;
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

std::string workflow_help(const v1::Workflow& workflow) {
  std::string text = workflow.title() + "\n" + wrapped(workflow.description(), 0, 100) + "\nslipway run start " +
                     workflow.name() + " [flags]\n";
  std::vector<std::string> shown;
  for (const bool advanced : {false, true}) {
    std::string part;
    for (const auto& step : workflow.steps()) {
      std::string flags;
      for (const auto& parameter : workflow.parameters()) {
        if (parameter.step() == step.name() && parameter.advanced() == advanced) flags += describe(parameter);
      }
      if (!flags.empty()) part += "\n" + step.title() + (step.help().empty() ? "" : ": " + step.help()) + "\n" + flags;
    }
    std::string rest;
    for (const auto& parameter : workflow.parameters()) {
      const bool in_step = std::any_of(workflow.steps().begin(), workflow.steps().end(),
                                       [&](const auto& step) { return step.name() == parameter.step(); });
      if (!in_step && parameter.advanced() == advanced) rest += describe(parameter);
    }
    if (!rest.empty()) part += "\nOther\n" + rest;
    if (!part.empty()) text += (advanced ? "\nADVANCED\n" : "") + part;
  }
  text +=
      "\nThe run\n  --name TEXT\n      Name of the run (default: made from the parameters)\n"
      "  --watch\n      Follow it until it ends; the exit status is then the run's\n"
      "  --idempotency-key TEXT\n      Repeating the command with the same key gives the same run\n"
      "  --json\n      Answer as JSON\n";
  return text;
}

RunFlags parse_run_flags(const v1::Workflow& workflow, const std::vector<std::string>& arguments) {
  RunFlags flags;
  std::map<std::string, const v1::WorkflowParameter*> by_flag;
  for (const auto& parameter : workflow.parameters()) {
    by_flag["--" + parameter.name()] = &parameter;
    by_flag[flag_of(parameter.name())] = &parameter;
  }
  // The workflow's own parameters win over the run's flags of the same name.
  const std::map<std::string, std::string*> texts = {{"--name", &flags.name},
                                                     {"--idempotency-key", &flags.idempotency_key}};
  const std::map<std::string, bool*> switches = {{"--watch", &flags.watch},
                                                 {"-w", &flags.watch},
                                                 {"--json", &flags.json},
                                                 {"--help", &flags.help_wanted},
                                                 {"-h", &flags.help_wanted}};
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string flag = arguments[i];
    std::optional<std::string> value;
    if (const size_t equals = flag.find('='); flag.rfind("--", 0) == 0 && equals != std::string::npos) {
      value = flag.substr(equals + 1);
      flag = flag.substr(0, equals);
    }
    const auto take_value = [&]() -> std::string {
      if (value) return *value;
      if (i + 1 >= arguments.size())
        throw Failure(Exit::kUsage, flag + " needs a value", "see: slipway run start " + workflow.name() + " --help",
                      flag);
      return arguments[++i];
    };
    const bool negated = flag.rfind("--no-", 0) == 0;
    const auto found = by_flag.find(flag);
    const auto opposite = negated ? by_flag.find("--" + flag.substr(5)) : by_flag.end();
    if (found != by_flag.end()) {
      const auto& parameter = *found->second;
      std::string text;
      if (parameter.type() == "boolean" && !value) {
        // --packing alone, or --packing false
        const bool explicit_value = i + 1 < arguments.size() && as_json(parameter, arguments[i + 1]);
        text = explicit_value ? arguments[++i] : "true";
      } else {
        text = take_value();
      }
      const auto json = as_json(parameter, text);
      if (!json) {
        throw Failure(
            Exit::kUsage,
            "'" + text + "' is not " + (parameter.type() == "integer" ? "an integer" : "a " + parameter.type()),
            "see: slipway run start " + workflow.name() + " --help", flag);
      }
      flags.parameters[parameter.name()] = *json;
    } else if (opposite != by_flag.end() && opposite->second->type() == "boolean" && !value) {
      flags.parameters[opposite->second->name()] = "false";
    } else if (const auto text = texts.find(flag); text != texts.end()) {
      *text->second = take_value();
    } else if (const auto on = switches.find(flag); on != switches.end() && !value) {
      *on->second = true;
    } else {
      throw Failure(Exit::kUsage, "the workflow " + workflow.name() + " has no flag " + flag,
                    "see: slipway run start " + workflow.name() + " --help", flag);
    }
  }
  if (flags.help_wanted) flags.help = workflow_help(workflow);
  return flags;
}

}  // namespace slipway::cli
