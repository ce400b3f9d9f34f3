// Checks parameter values against their declarations.
#include <algorithm>
#include <cmath>

#include "workflows/plan.h"
#include "workflows/template.h"

namespace slipway::workflows {
namespace {

constexpr size_t kMaxTextBytes = 10'000;
// Whole numbers beyond this do not survive a JSON reader that uses doubles.
constexpr double kMaxInteger = 9007199254740992.0;

std::string number_text(double value) {
  if (value == std::floor(value) && std::abs(value) < kMaxInteger) return std::to_string(static_cast<int64_t>(value));
  return Json(value).dump();
}

std::string range_text(const Parameter& parameter) {
  if (parameter.minimum && parameter.maximum) {
    return number_text(*parameter.minimum) + " to " + number_text(*parameter.maximum);
  }
  if (parameter.minimum) return number_text(*parameter.minimum) + " or more";
  if (parameter.maximum) return number_text(*parameter.maximum) + " or less";
  return "a number";
}

class Check {
 public:
  Check(const Workflow& workflow, const Resolve& resolve) : workflow_(workflow), resolve_(resolve) {}

  CheckedParameters run(const std::map<std::string, std::string>& texts, const std::string& run_name) {
    for (const auto& [name, text] : texts) {
      if (workflow_.find_parameter(name) == nullptr) refuse_unknown(name);
    }
    // What is given first: templates of defaults and of the run's name may refer to it.
    for (const Parameter& parameter : workflow_.parameters) {
      if (!counts(parameter)) {
        checked_.values[parameter.name] = nullptr;
        continue;
      }
      const auto given = texts.find(parameter.name);
      Json value;
      if (given != texts.end()) value = read_text(parameter, given->second);
      take(parameter, value);
      decide(parameter);
    }
    name_run(run_name);
    for (const Parameter& parameter : workflow_.parameters) {
      if (!checked_.values[parameter.name].is_null() || !counts(parameter)) continue;
      const Json value = default_of(parameter);
      take(parameter, value);
      if (value.is_null() && parameter.required && !refused_[parameter.name]) {
        refuse(parameter, "is not given", "choose a value");
      }
    }
    for (const Parameter& parameter : workflow_.parameters) note_text(parameter);
    return std::move(checked_);
  }

 private:
  // Its conditions are about parameters before it, which are decided by then. What depends on a refused one waits for
  // it.
  bool counts(const Parameter& parameter) const {
    return std::all_of(parameter.conditions.begin(), parameter.conditions.end(), [&](const Condition& condition) {
      const auto value = decided_.find(condition.parameter);
      return value != decided_.end() &&
             std::find(condition.values.begin(), condition.values.end(), value->second) != condition.values.end();
    });
  }

  // Notes what conditions on it will compare with: its choice, or true or false; its default's where none is given.
  void decide(const Parameter& parameter) {
    if (refused_[parameter.name]) return;
    if (const auto chosen = chosen_.find(parameter.name); chosen != chosen_.end()) {
      decided_[parameter.name] = chosen->second;
      return;
    }
    const Json& value = checked_.values[parameter.name];
    const Json& decided = value.is_null() ? parameter.default_value : value;
    if (decided.is_boolean()) decided_[parameter.name] = decided.dump();
    if (parameter.type == ParameterType::kChoice && decided.is_string()) decided_[parameter.name] = decided;
  }

  void refuse(const Parameter& parameter, const std::string& what, const std::string& advice) {
    refused_[parameter.name] = true;
    checked_.violations.push_back({"parameters." + parameter.name, parameter.label + " " + what, advice});
  }

  void refuse_unknown(const std::string& name) {
    std::string known;
    for (const Parameter& parameter : workflow_.parameters) known += (known.empty() ? "" : ", ") + parameter.name;
    checked_.violations.push_back({"parameters." + name,
                                   "workflow " + workflow_.name + " has no parameter '" + name + "'",
                                   "use one of: " + known});
  }

  // The JSON value that a text stands for; null for an empty text, which means: the default.
  static Json read_text(const Parameter& parameter, const std::string& text) {
    if (text.empty() || text == "null") return {};
    const bool is_text = parameter.type != ParameterType::kInteger && parameter.type != ParameterType::kNumber &&
                         parameter.type != ParameterType::kBoolean;
    Json parsed = Json::parse(text, nullptr, false);
    if (is_text) {
      if (!parsed.is_string()) parsed = text;
      return parsed.get_ref<const std::string&>().empty() ? Json() : parsed;
    }
    // "3" in quotes is a number that a form sent as text.
    if (parsed.is_string()) parsed = Json::parse(parsed.get<std::string>(), nullptr, false);
    return parsed.is_discarded() ? Json(text) : parsed;
  }

  void take(const Parameter& parameter, const Json& value) {
    Json& slot = checked_.values[parameter.name];
    if (slot.is_null() && !value.is_null()) slot = accept(parameter, value);
  }

  Json accept(const Parameter& parameter, const Json& value) {
    if (value.is_string() && value.get_ref<const std::string&>().size() > kMaxTextBytes) {
      refuse(parameter, "is longer than 10,000 bytes", "shorten it");
      return {};
    }
    switch (parameter.type) {
      case ParameterType::kModel:
      case ParameterType::kDataset:
        return accept_version(parameter, value);
      case ParameterType::kString:
        return value;
      case ParameterType::kChoice:
        return accept_choice(parameter, value);
      case ParameterType::kBoolean:
        if (value.is_boolean()) return value;
        refuse(parameter, "is neither true nor false", "use true or false");
        return {};
      case ParameterType::kInteger:
      case ParameterType::kNumber:
        return accept_number(parameter, value);
    }
    return {};
  }

  Json accept_number(const Parameter& parameter, const Json& value) {
    if (!value.is_number() || !std::isfinite(value.get<double>())) {
      refuse(parameter, "is not a number", "use " + range_text(parameter));
      return {};
    }
    const double number = value.get<double>();
    const bool whole = number == std::floor(number) && std::abs(number) <= kMaxInteger;
    if (parameter.type == ParameterType::kInteger && !whole) {
      refuse(parameter, "is not a whole number", "use " + range_text(parameter));
      return {};
    }
    if ((parameter.minimum && number < *parameter.minimum) || (parameter.maximum && number > *parameter.maximum)) {
      refuse(parameter, "is " + number_text(number) + ", out of range", "use " + range_text(parameter));
      return {};
    }
    if (parameter.type == ParameterType::kInteger) return static_cast<int64_t>(number);
    return value;
  }

  Json accept_choice(const Parameter& parameter, const Json& value) {
    std::string known;
    for (const Choice& choice : parameter.choices) {
      if (value == choice.value) {
        chosen_[parameter.name] = choice.value;
        return choice.gives.is_null() ? value : choice.gives;
      }
      known += (known.empty() ? "" : ", ") + choice.value;
    }
    refuse(parameter, "is '" + value.get<std::string>() + "', which is not a choice", "use one of: " + known);
    return {};
  }

  Json accept_version(const Parameter& parameter, const Json& value) {
    auto found = resolve_(parameter.type, value.get<std::string>());
    if (found.ok()) return *std::move(found);
    refuse(parameter, "is '" + value.get<std::string>() + "': " + std::string(found.status().message()),
           base::detail_of(found.status()).advice);
    return {};
  }

  Json scope() const {
    return {{"parameters", checked_.values},
            {"run", {{"name", checked_.run_name}, {"slug", slug_of(checked_.run_name)}}}};
  }

  void name_run(const std::string& run_name) {
    checked_.run_name = run_name;
    if (run_name.size() > 200) {
      checked_.violations.push_back({"name", "the run's name is longer than 200 bytes", "shorten it"});
    }
    if (!run_name.empty()) return;
    const auto filled = fill_in(Json(workflow_.run_name), scope());
    checked_.run_name = filled.ok() && filled->is_string() ? filled->get<std::string>() : workflow_.name;
  }

  Json default_of(const Parameter& parameter) {
    if (refused_[parameter.name] || parameter.default_value.is_null()) return {};
    auto filled = fill_in(parameter.default_value, scope());
    return filled.ok() ? *std::move(filled) : Json();
  }

  void note_text(const Parameter& parameter) {
    const Json& value = checked_.values[parameter.name];
    if (value.is_null()) return;
    if (parameter.type == ParameterType::kChoice) {
      checked_.texts[parameter.name] = Json(chosen_[parameter.name]).dump();
      return;
    }
    const bool version = parameter.type == ParameterType::kModel || parameter.type == ParameterType::kDataset;
    checked_.texts[parameter.name] = version ? Json(value.value("label", value.value("id", ""))).dump() : value.dump();
  }

  const Workflow& workflow_;
  const Resolve& resolve_;
  CheckedParameters checked_;
  std::map<std::string, bool> refused_;
  std::map<std::string, std::string> chosen_;
  std::map<std::string, std::string> decided_;
};

}  // namespace

CheckedParameters check_parameters(const Workflow& workflow, const std::map<std::string, std::string>& texts,
                                   const std::string& run_name, const Resolve& resolve) {
  return Check(workflow, resolve).run(texts, run_name);
}

}  // namespace slipway::workflows
