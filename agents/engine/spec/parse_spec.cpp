// Text of a spec file -> checked spec with its defaults.
#include <set>

#include "agents/engine/spec/json_bounds.h"
#include "agents/engine/spec/schema.h"
#include "backend/base/error.h"

namespace slipway::spec {
namespace {

using nlohmann::json;

constexpr int kMaxSpecDepth = 64;
constexpr size_t kMaxListedViolations = 50;

// "line 3, column 17" of a byte offset.
std::string position(std::string_view text, size_t offset) {
  size_t line = 1, column = 1;
  for (size_t i = 0; i < offset && i < text.size(); ++i) {
    if (text[i] == '\n') {
      ++line;
      column = 1;
    } else {
      ++column;
    }
  }
  return "line " + std::to_string(line) + ", column " + std::to_string(column);
}

[[noreturn]] void refuse(const std::string& message) {
  throw base::Error(base::kInvalidSpec, message, "write the spec as one JSON object");
}

json parse_json(std::string_view text) {
  // Fields given twice: the parser would silently keep the last one.
  std::vector<std::set<std::string>> open_objects;
  std::string twice;
  const auto watch = [&](int depth, json::parse_event_t event, json& parsed) {
    if (depth > kMaxSpecDepth) refuse("the spec is nested more than " + std::to_string(kMaxSpecDepth) + " levels deep");
    if (event == json::parse_event_t::object_start) open_objects.emplace_back();
    if (event == json::parse_event_t::object_end) open_objects.pop_back();
    if (event == json::parse_event_t::key && !open_objects.empty()) {
      const auto name = parsed.get<std::string>();
      if (!open_objects.back().insert(name).second && twice.empty()) twice = name;
    }
    return true;
  };
  json spec;
  try {
    spec = json::parse(text, watch);
  } catch (const json::parse_error& error) {
    const size_t offset = error.byte > 0 ? error.byte - 1 : 0;
    refuse("the spec is not JSON at " + position(text, offset) + ": " + parse_error_reason(error.what()));
  } catch (const json::exception& error) {
    refuse(std::string("the spec is not JSON: ") + parse_error_reason(error.what()));
  }
  if (!twice.empty())
    refuse("the spec gives the field " + json(twice).dump(-1, ' ', true, json::error_handler_t::replace) +
           " twice in one object");
  return spec;
}

}  // namespace

nlohmann::json parse_spec(std::string_view kind, std::string_view text) {
  json spec = parse_json(text);
  if (!spec.is_object()) refuse("the spec must be a JSON object {...}");
  const std::vector<Violation> violations = check_against_schema(schema_of(kind), spec);
  if (violations.empty()) return spec;
  std::string message =
      std::to_string(violations.size()) + (violations.size() == 1 ? " fault in the spec:" : " faults in the spec:");
  for (size_t i = 0; i < violations.size() && i < kMaxListedViolations; ++i) {
    const Violation& violation = violations[i];
    message += "\n  " + (violation.path.empty() ? std::string("the spec") : violation.path) + " " + violation.message;
    if (!violation.nearest.empty()) message += "; did you mean " + violation.nearest + "?";
  }
  if (violations.size() > kMaxListedViolations) message += "\n  and more";
  throw base::Error(base::kInvalidSpec, message, "correct these fields and start again");
}

}  // namespace slipway::spec
