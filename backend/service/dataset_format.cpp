#include "backend/service/dataset_format.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/str_join.h"
#include "backend/base/status.h"

namespace slipway::service {
namespace {

using nlohmann::ordered_json;

// Formats in the order of guessing: the first whose required roles all find a column.
const std::vector<std::string>& formats() {
  static const std::vector<std::string> kFormats = {"messages", "sharegpt",          "preference",
                                                    "alpaca",   "prompt_completion", "text"};
  return kFormats;
}

// Names under which a role's column goes about, the role's own first.
std::vector<std::string> usual_columns(const std::string& role) {
  static const std::map<std::string, std::vector<std::string>> kColumns = {
      {"messages", {"messages", "conversation", "conversations", "chat"}},
      {"conversations", {"conversations", "conversation"}},
      {"prompt", {"prompt", "question", "query", "input", "instruction"}},
      {"completion", {"completion", "answer", "response", "output", "reply"}},
      {"instruction", {"instruction"}},
      {"output", {"output", "response"}},
      {"input", {"input", "context"}},
      {"system", {"system", "system_prompt"}},
      {"text", {"text", "content"}},
  };
  const auto found = kColumns.find(role);
  return found == kColumns.end() ? std::vector<std::string>{role} : found->second;
}

bool is_list_of(const ordered_json& value, const char* field) {
  return value.is_array() && !value.empty() && value.front().is_object() && value.front().contains(field);
}

// Whether a column's value can play the role at all.
bool can_play(const std::string& role, const ordered_json& value) {
  if (role == "messages") return is_list_of(value, "role");
  if (role == "conversations") return is_list_of(value, "from") || is_list_of(value, "role");
  if (role == "prompt" || role == "completion" || role == "chosen" || role == "rejected") {
    return value.is_string() || is_list_of(value, "role");
  }
  return value.is_string();
}

std::string find_column(const std::string& role, const ordered_json& row) {
  for (const std::string& column : usual_columns(role)) {
    const auto found = row.find(column);
    if (found != row.end() && can_play(role, *found)) return column;
  }
  return "";
}

// Gives each required role that has no column yet its usual one; false when one finds none.
bool fill_required(const ordered_json& row, ColumnMapping& mapping) {
  for (const std::string& role : required_roles(mapping.format)) {
    if (mapping.roles.contains(role)) continue;
    const std::string column = find_column(role, row);
    if (column.empty()) return false;
    mapping.roles[role] = column;
  }
  return true;
}

std::string columns_of(const ordered_json& row) {
  std::vector<std::string> names;
  for (const auto& [name, value] : row.items()) {
    if (names.size() < 20) names.push_back(name);
  }
  return names.empty() ? "no columns" : absl::StrJoin(names, ", ");
}

}  // namespace

std::vector<std::string> required_roles(const std::string& format) {
  if (format == "messages") return {"messages"};
  if (format == "sharegpt") return {"conversations"};
  if (format == "preference") return {"chosen", "rejected"};
  if (format == "alpaca") return {"instruction", "output"};
  if (format == "prompt_completion") return {"prompt", "completion"};
  return {"text"};
}

std::vector<std::string> optional_roles(const std::string& format) {
  if (format == "messages") return {"system", "tools"};
  if (format == "preference") return {"prompt"};
  if (format == "alpaca") return {"input", "system"};
  if (format == "sharegpt" || format == "prompt_completion") return {"system"};
  return {};
}

absl::StatusOr<ColumnMapping> complete_mapping(const ColumnMapping& given, const ordered_json& first_row) {
  const std::string known = absl::StrJoin(formats(), ", ");
  if (!given.format.empty() && std::find(formats().begin(), formats().end(), given.format) == formats().end()) {
    return base::invalid_argument("mapping.format", "there is no format '" + given.format.substr(0, 50) + "'",
                                  "use one of: " + known);
  }
  for (const std::string& format : given.format.empty() ? formats() : std::vector<std::string>{given.format}) {
    std::vector<std::string> roles = required_roles(format);
    for (const std::string& role : optional_roles(format)) roles.push_back(role);
    std::string foreign;
    ColumnMapping mapping{format, {}};
    for (const auto& [role, column] : given.roles) {
      if (std::find(roles.begin(), roles.end(), role) == roles.end()) foreign = role;
      if (!column.empty()) mapping.roles[role] = column;
    }
    if (foreign.empty() && fill_required(first_row, mapping)) {
      // Optional columns that go by another name must be named; those that go by their own are found row by row.
      for (const std::string& role : optional_roles(format)) {
        const std::string column = find_column(role, first_row);
        if (!mapping.roles.contains(role) && !column.empty() && column != role) mapping.roles[role] = column;
      }
      return mapping;
    }
    if (given.format.empty()) continue;
    if (!foreign.empty()) {
      return base::invalid_argument("mapping.roles." + foreign.substr(0, 50),
                                    "format " + format + " has no role '" + foreign.substr(0, 50) + "'",
                                    "its roles: " + absl::StrJoin(roles, ", "));
    }
    return base::invalid_argument(
        "mapping.roles", "the rows have no column for every role of format " + format,
        "it needs " + absl::StrJoin(required_roles(format), " and ") + "; the rows have " + columns_of(first_row));
  }
  return base::invalid_argument("mapping", "the format cannot be guessed from the columns: " + columns_of(first_row),
                                "choose a format, and the column of each role");
}

}  // namespace slipway::service
