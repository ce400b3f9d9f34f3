// The JSON Schema subset of our specs: every violation at once, with its path, what was expected and the nearest name.
#include "agents/engine/spec/schema.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "agents/engine/spec/embedded_schemas.h"
#include "backend/base/error.h"

namespace slipway::spec {
namespace {

using nlohmann::json;

constexpr int kMaxDepth = 64;
constexpr double kLargestExactInteger = 9007199254740992.0;  // 2^53

// A value as it is shown in a message: short, and never broken UTF-8.
std::string excerpt(const json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "a list";
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > 80) text = text.substr(0, 77) + "...";
  return text;
}

std::string number_text(const json& number) { return number.dump(); }

std::string type_text(const std::string& type) {
  if (type == "object") return "an object {...}";
  if (type == "array") return "a list [...]";
  if (type == "integer") return "a whole number";
  if (type == "number") return "a number";
  if (type == "boolean") return "true or false";
  if (type == "string") return "a text in quotes";
  return type;
}

bool is_integral(const json& value) {
  if (value.is_number_integer()) return true;
  if (!value.is_number_float()) return false;
  const double number = value.get<double>();
  return std::isfinite(number) && std::floor(number) == number && std::abs(number) <= kLargestExactInteger;
}

bool has_type(const json& value, const std::string& type) {
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_boolean();
  if (type == "null") return value.is_null();
  if (type == "integer") return is_integral(value);
  if (type == "number") return value.is_number();
  return false;
}

std::vector<std::string> names_of(const json& object) {
  std::vector<std::string> names;
  for (const auto& [name, unused] : object.items()) names.push_back(name);
  return names;
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

std::string child_path(const std::string& path, const std::string& name) {
  return path.empty() ? name : path + "." + name;
}

class Checker {
 public:
  explicit Checker(const json& root) : root_(root) {}

  void check(const json& given_schema, json& value, const std::string& path, int depth) {
    if (depth > kMaxDepth) {
      report(path, "is nested too deeply");
      return;
    }
    const json& schema = resolve(given_schema);
    if (schema.contains("oneOf")) {
      check_variant(schema, value, path, depth);
      return;
    }
    if (!check_type(schema, value, path)) return;
    if (!check_allowed_values(schema, value, path)) return;
    if (value.is_number()) check_number(schema, value, path);
    if (value.is_string()) check_text(schema, value, path);
    if (value.is_array()) check_array(schema, value, path, depth);
    if (value.is_object()) check_object(schema, value, path, depth);
  }

  std::vector<Violation> take() { return std::move(violations_); }

 private:
  void report(const std::string& path, const std::string& message, const std::string& nearest = "") {
    violations_.push_back({path, message, nearest});
  }

  // Follows "$ref": "#/$defs/name".
  const json& resolve(const json& schema) const {
    const json* current = &schema;
    for (int hops = 0; hops < kMaxDepth && current->contains("$ref"); ++hops) {
      current = &root_.at(json::json_pointer(current->at("$ref").get<std::string>().substr(1)));
    }
    return *current;
  }

  // oneOf with a discriminator: the alternative whose `const` equals the value of that property is the one that counts.
  void check_variant(const json& schema, json& value, const std::string& path, int depth) {
    if (!value.is_object()) {
      report(path, "must be an object {...}, not " + excerpt(value));
      return;
    }
    const std::string tag = schema.at("discriminator").at("propertyName").get<std::string>();
    std::vector<std::string> tags;
    for (const json& alternative : schema.at("oneOf")) {
      const json& resolved = resolve(alternative);
      const std::string name = resolved.at("properties").at(tag).at("const").get<std::string>();
      if (value.contains(tag) && value[tag] == name) {
        check(resolved, value, path, depth + 1);
        return;
      }
      tags.push_back(name);
    }
    if (!value.contains(tag)) {
      report(child_path(path, tag), "is missing; expected one of " + joined(tags));
    } else if (!value[tag].is_string()) {
      report(child_path(path, tag), "must be one of " + joined(tags) + ", not " + excerpt(value[tag]));
    } else {
      report(child_path(path, tag), "must be one of " + joined(tags) + ", not " + excerpt(value[tag]),
             nearest_name(value[tag].get<std::string>(), tags));
    }
  }

  bool check_type(const json& schema, json& value, const std::string& path) {
    if (!schema.contains("type")) return true;
    std::vector<std::string> types;
    if (schema["type"].is_array()) {
      types = schema["type"].get<std::vector<std::string>>();
    } else {
      types.push_back(schema["type"].get<std::string>());
    }
    for (const std::string& type : types) {
      if (!has_type(value, type)) continue;
      // 300.0 is a whole number to JSON Schema; readers shall see 300.
      if (type == "integer" && value.is_number_float()) value = static_cast<int64_t>(value.get<double>());
      if (type == "integer" && value.is_number_unsigned() &&
          value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        report(path, "must be below 9223372036854775808, not " + excerpt(value));
        return false;
      }
      return true;
    }
    std::string expected;
    for (const std::string& type : types) expected += (expected.empty() ? "" : " or ") + type_text(type);
    report(path, "must be " + expected + limits_text(schema) + ", not " + excerpt(value));
    return false;
  }

  static std::string limits_text(const json& schema) {
    std::string text;
    const auto add = [&](const char* keyword, const char* words) {
      if (schema.contains(keyword)) text += (text.empty() ? " " : " and ") + (words + number_text(schema[keyword]));
    };
    add("minimum", "of at least ");
    add("exclusiveMinimum", "above ");
    add("maximum", "of at most ");
    add("exclusiveMaximum", "below ");
    return text;
  }

  bool check_allowed_values(const json& schema, const json& value, const std::string& path) {
    if (schema.contains("const") && value != schema["const"]) {
      report(path, "must be " + schema["const"].dump() + ", not " + excerpt(value));
      return false;
    }
    if (!schema.contains("enum")) return true;
    std::vector<std::string> allowed;
    for (const json& item : schema["enum"]) {
      if (item == value) return true;
      allowed.push_back(item.is_string() ? item.get<std::string>() : item.dump());
    }
    report(path, "must be one of " + joined(allowed) + ", not " + excerpt(value),
           value.is_string() ? nearest_name(value.get<std::string>(), allowed) : "");
    return false;
  }

  void check_number(const json& schema, const json& value, const std::string& path) {
    const double number = value.get<double>();
    const bool fits = (!schema.contains("minimum") || number >= schema["minimum"].get<double>()) &&
                      (!schema.contains("exclusiveMinimum") || number > schema["exclusiveMinimum"].get<double>()) &&
                      (!schema.contains("maximum") || number <= schema["maximum"].get<double>()) &&
                      (!schema.contains("exclusiveMaximum") || number < schema["exclusiveMaximum"].get<double>());
    if (fits) return;
    const bool whole = schema.contains("type") && schema["type"] == "integer";
    report(path, std::string("must be ") + (whole ? "a whole number" : "a number") + limits_text(schema) + ", not " +
                     excerpt(value));
  }

  void check_text(const json& schema, const json& value, const std::string& path) {
    const size_t length = value.get_ref<const std::string&>().size();
    if (schema.contains("minLength") && length < schema["minLength"].get<size_t>()) {
      const auto least = schema["minLength"].get<size_t>();
      report(path, least == 1 ? "must not be empty" : "must have at least " + std::to_string(least) + " characters");
    }
  }

  void check_array(const json& schema, json& value, const std::string& path, int depth) {
    if (schema.contains("minItems") && value.size() < schema["minItems"].get<size_t>()) {
      report(path, "must have at least " + number_text(schema["minItems"]) + " entr" +
                       (schema["minItems"] == 1 ? "y" : "ies") + ", not " + std::to_string(value.size()));
    }
    if (!schema.contains("items")) return;
    for (size_t i = 0; i < value.size(); ++i) {
      check(schema["items"], value[i], path + "[" + std::to_string(i) + "]", depth + 1);
    }
  }

  void check_object(const json& schema, json& value, const std::string& path, int depth) {
    static const json kNone = json::object();
    const json& properties = schema.contains("properties") ? schema["properties"] : kNone;
    for (const auto& [name, item] : value.items()) {
      if (properties.contains(name)) {
        check(properties[name], item, child_path(path, name), depth + 1);
      } else if (schema.contains("additionalProperties") && schema["additionalProperties"].is_object()) {
        check(schema["additionalProperties"], item, child_path(path, name), depth + 1);
      } else if (schema.contains("additionalProperties") && schema["additionalProperties"] == false) {
        const std::vector<std::string> known = names_of(properties);
        const std::string nearest = nearest_name(name, known);
        report(child_path(path, name), nearest.empty() ? "is unknown; known here: " + joined(known) : "is unknown",
               nearest);
      }
    }
    if (schema.contains("required")) {
      for (const json& name : schema["required"]) {
        if (value.contains(name.get<std::string>())) continue;
        report(child_path(path, name), "is missing; expected " + expectation(properties, name));
      }
    }
    for (const auto& [name, property] : properties.items()) {
      if (value.contains(name)) continue;
      const json& resolved = resolve(property);
      const bool own = property.contains("default");
      if (!own && !resolved.contains("default")) continue;
      json filled = own ? property["default"] : resolved["default"];
      check(property, filled, child_path(path, name), depth + 1);
      value[name] = std::move(filled);
    }
  }

  std::string expectation(const json& properties, const std::string& name) const {
    if (!properties.contains(name)) return "a value";
    const json& schema = resolve(properties[name]);
    if (schema.contains("const")) return schema["const"].dump();
    if (schema.contains("enum")) {
      std::vector<std::string> allowed;
      for (const json& item : schema["enum"])
        allowed.push_back(item.is_string() ? item.get<std::string>() : item.dump());
      return "one of " + joined(allowed);
    }
    std::string text = "an object {...}";
    if (schema.contains("type") && schema["type"].is_string()) text = type_text(schema["type"].get<std::string>());
    text += limits_text(schema);
    if (schema.contains("description")) text += " (" + schema["description"].get<std::string>() + ")";
    return text;
  }

  const json& root_;
  std::vector<Violation> violations_;
};

// Levenshtein's distance, with the exchange of two neighbours as one step.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), previous(b.size() + 1), current(b.size() + 1);
  std::iota(previous.begin(), previous.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    current[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t change = a[i - 1] == b[j - 1] ? 0 : 1;
      current[j] = std::min({previous[j] + 1, current[j - 1] + 1, previous[j - 1] + change});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        current[j] = std::min(current[j], before[j - 2] + 1);
    }
    std::swap(before, previous);
    std::swap(previous, current);
  }
  return previous[b.size()];
}

}  // namespace

std::vector<Violation> check_against_schema(const nlohmann::json& schema, nlohmann::json& value) {
  Checker checker(schema);
  checker.check(schema, value, "", 0);
  return checker.take();
}

const nlohmann::json& schema_of(std::string_view kind) {
  static const json* schemas = [] {
    auto* parsed = new json(json::object());
    for (const EmbeddedSchema& embedded : embedded_schemas())
      (*parsed)[std::string(embedded.kind)] = json::parse(embedded.text);
    return parsed;
  }();
  const auto found = schemas->find(std::string(kind));
  if (found == schemas->end()) {
    throw base::Error(base::kUnsupported, "there is no engine of kind " + std::string(kind),
                      "known: prep, train, eval, serve");
  }
  return *found;
}

std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates) {
  if (name.empty() || name.size() > 100) return "";
  std::string best;
  size_t best_distance = std::max<size_t>(1, name.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const size_t distance = edit_distance(name, candidate);
    if (distance >= best_distance || distance >= candidate.size()) continue;
    best = candidate;
    best_distance = distance;
  }
  return best;
}

}  // namespace slipway::spec
