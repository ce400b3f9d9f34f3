#include "agents/engine/prep/row.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "agents/engine/spec/json_bounds.h"
#include "agents/engine/spec/schema.h"
#include "backend/base/error.h"

namespace slipway::prep {
namespace {

using nlohmann::ordered_json;

std::string dumped(const ordered_json& value) {
  return value.dump(-1, ' ', true, ordered_json::error_handler_t::replace);
}

std::string shortened(std::string text) { return text.size() > 60 ? text.substr(0, 57) + "..." : text; }

std::string quoted(const std::string& text) { return dumped(shortened(text)); }

const char* kind_name(const ordered_json& value) {
  if (value.is_null()) return "null";
  if (value.is_boolean()) return "true or false";
  if (value.is_number()) return "a number";
  if (value.is_string()) return "a text";
  return value.is_array() ? "a list" : "an object";
}

std::string column_names(const ordered_json& object) {
  std::string text;
  int count = 0;
  for (const auto& [name, unused] : object.items()) {
    if (++count > 20) return text + ", ...";
    text += (text.empty() ? "" : ", ") + quoted(name);
  }
  return text.empty() ? "none" : text;
}

// Access to the columns of a row by role.
class Columns {
 public:
  Columns(const ordered_json& row, const Mapping& mapping) : row_(row), mapping_(mapping) {}

  // The column of `role`, or nullptr. One that the mapping names must be there.
  const ordered_json* find(const std::string& role) const {
    const auto mapped = mapping_.find(role);
    const auto found = row_.find(mapped == mapping_.end() ? role : mapped->second);
    if (found != row_.end()) return &*found;
    if (mapped == mapping_.end()) return nullptr;
    const ordered_json* nested = find_nested(mapped->second);
    if (nested == nullptr) fail(mapped->second);
    return nested;
  }

  const ordered_json& get(const std::string& role) const {
    const ordered_json* value = find(role);
    if (value == nullptr) fail(role);
    return *value;
  }

  // A text; null counts as empty.
  std::string text(const std::string& role) const { return as_text(get(role), role); }
  std::string optional_text(const std::string& role) const {
    const ordered_json* value = find(role);
    return value == nullptr ? "" : as_text(*value, role);
  }

 private:
  std::string as_text(const ordered_json& value, const std::string& role) const {
    if (value.is_null()) return "";
    if (!value.is_string()) {
      const auto mapped = mapping_.find(role);
      throw RowFault("column " + quoted(mapped == mapping_.end() ? role : mapped->second) + " must be a text, not " +
                     kind_name(value));
    }
    return value.get<std::string>();
  }

  // A dotted name leads into objects, and by number into lists: answers.text.0.
  const ordered_json* find_nested(const std::string& path) const {
    const ordered_json* value = &row_;
    for (size_t begin = 0; begin <= path.size();) {
      const size_t end = std::min(path.find('.', begin), path.size());
      const std::string part = path.substr(begin, end - begin);
      begin = end + 1;
      if (value->is_object() && value->contains(part)) {
        value = &(*value)[part];
      } else if (value->is_array() && !part.empty() && part.size() < 9 &&
                 part.find_first_not_of("0123456789") == std::string::npos && std::stoul(part) < value->size()) {
        value = &(*value)[std::stoul(part)];
      } else {
        return nullptr;
      }
    }
    return value;
  }

  [[noreturn]] void fail(const std::string& column) const {
    std::vector<std::string> names;
    for (const auto& [name, unused] : row_.items()) names.push_back(name);
    const std::string nearest = spec::nearest_name(column, names);
    throw RowFault("has no column " + quoted(column) + "; its columns: " + column_names(row_) +
                   (nearest.empty() ? "" : "; did you mean " + quoted(nearest) + "?"));
  }

  const ordered_json& row_;
  const Mapping& mapping_;
};

ordered_json message(const std::string& role, std::string content) {
  return ordered_json{{"role", role}, {"content", std::move(content)}};
}

// Content as one text: a string, null, or OpenAI's list of text parts.
std::string content_text(const ordered_json& content, const std::string& where) {
  if (content.is_null()) return "";
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) throw RowFault(where + " must be a text, not " + kind_name(content));
  std::string text;
  for (const ordered_json& part : content) {
    if (!part.is_object() || part.value("type", ordered_json()) != "text" || !part.contains("text") ||
        !part["text"].is_string()) {
      throw RowFault(where + " holds a part that is not text; expected {\"type\": \"text\", \"text\": \"...\"}");
    }
    text += part["text"].get<std::string>();
  }
  return text;
}

std::string check_role(const std::string& role, const std::string& where) {
  static constexpr std::array kRoles = {"system", "developer", "user", "assistant", "tool"};
  if (std::find(kRoles.begin(), kRoles.end(), role) == kRoles.end()) {
    throw RowFault(where + " is " + quoted(role) + "; expected system, developer, user, assistant or tool");
  }
  return role;
}

ordered_json checked_messages(const ordered_json& given, const std::string& column) {
  if (!given.is_array())
    throw RowFault("column " + quoted(column) + " must be a list of messages, not " + kind_name(given));
  ordered_json messages = ordered_json::array();
  for (size_t i = 0; i < given.size(); ++i) {
    const std::string where = column + "[" + std::to_string(i) + "]";
    const ordered_json& item = given[i];
    if (!item.is_object()) throw RowFault(where + " must be an object {\"role\", \"content\"}, not " + kind_name(item));
    if (!item.contains("role") || !item["role"].is_string())
      throw RowFault(where + " has no \"role\"; its fields: " + column_names(item));
    if (!item.contains("content") && !item.contains("tool_calls")) {
      throw RowFault(where + " has no \"content\"; its fields: " + column_names(item));
    }
    const std::string role = check_role(item["role"].get<std::string>(), where + ".role");
    ordered_json kept =
        message(role, item.contains("content") ? content_text(item["content"], where + ".content") : "");
    for (const char* extra : {"name", "reasoning_content", "tool_calls", "tool_call_id"}) {
      if (item.contains(extra) && !item[extra].is_null()) kept[extra] = item[extra];
    }
    messages.push_back(std::move(kept));
  }
  return messages;
}

// ShareGPT: [{"from": "human", "value": "..."}, ...]; many files mix in role and content.
ordered_json sharegpt_messages(const ordered_json& given, const std::string& column) {
  static const std::map<std::string, std::string> kSpeakers = {
      {"human", "user"},          {"user", "user"},      {"gpt", "assistant"},   {"chatgpt", "assistant"},
      {"assistant", "assistant"}, {"bing", "assistant"}, {"bard", "assistant"},  {"model", "assistant"},
      {"system", "system"},       {"tool", "tool"},      {"observation", "tool"}};
  if (!given.is_array())
    throw RowFault("column " + quoted(column) + " must be a list of turns, not " + kind_name(given));
  ordered_json messages = ordered_json::array();
  for (size_t i = 0; i < given.size(); ++i) {
    const std::string where = column + "[" + std::to_string(i) + "]";
    const ordered_json& item = given[i];
    if (!item.is_object()) throw RowFault(where + " must be an object {\"from\", \"value\"}, not " + kind_name(item));
    const char* from = item.contains("from") ? "from" : "role";
    const char* value = item.contains("value") ? "value" : "content";
    if (!item.contains(from) || !item[from].is_string())
      throw RowFault(where + " has no \"from\"; its fields: " + column_names(item));
    if (!item.contains(value)) throw RowFault(where + " has no \"value\"; its fields: " + column_names(item));
    const auto speaker = kSpeakers.find(item[from].get<std::string>());
    if (speaker == kSpeakers.end()) {
      throw RowFault(where + "." + from + " is " + quoted(item[from].get<std::string>()) +
                     "; expected human, gpt, system or tool");
    }
    messages.push_back(message(speaker->second, content_text(item[value], where + "." + value)));
  }
  return messages;
}

void append_all(ordered_json& messages, ordered_json more) {
  for (ordered_json& item : more) messages.push_back(std::move(item));
}

// A prompt or completion: a text said by `role`, or TRL's conversational form, messages.
ordered_json turn_messages(const Columns& columns, const std::string& role_name, const std::string& role) {
  const ordered_json& value = columns.get(role_name);
  if (value.is_array()) return checked_messages(value, role_name);
  return ordered_json::array({message(role, columns.text(role_name))});
}

Row parse_conversation(const Columns& columns, Format format) {
  Row row;
  row.messages = ordered_json::array();
  const std::string system = columns.optional_text("system");
  if (!system.empty()) row.messages.push_back(message("system", system));
  if (format == Format::kPromptCompletion) {
    append_all(row.messages, turn_messages(columns, "prompt", "user"));
    append_all(row.messages, turn_messages(columns, "completion", "assistant"));
  } else if (format == Format::kAlpaca) {
    std::string question = columns.text("instruction");
    const std::string input = columns.optional_text("input");
    if (!input.empty()) question += (question.empty() ? "" : "\n\n") + input;
    row.messages.push_back(message("user", question));
    row.messages.push_back(message("assistant", columns.text("output")));
  } else if (format == Format::kShareGpt) {
    append_all(row.messages, sharegpt_messages(columns.get("conversations"), "conversations"));
  } else {
    append_all(row.messages, checked_messages(columns.get("messages"), "messages"));
    const ordered_json* tools = columns.find("tools");
    if (tools != nullptr && tools->is_array() && !tools->empty()) row.tools = *tools;
  }
  return row;
}

Row parse_preference(const Columns& columns) {
  Row row;
  row.kind = RowKind::kPreference;
  const auto side = [&](const std::string& name) -> ordered_json {
    if (columns.get(name).is_array()) return checked_messages(columns.get(name), name);
    return columns.text(name);
  };
  row.chosen = side("chosen");
  row.rejected = side("rejected");
  if (row.chosen.is_array() != row.rejected.is_array()) {
    throw RowFault("\"chosen\" and \"rejected\" must both be texts or both be lists of messages");
  }
  if (columns.find("prompt") != nullptr) row.prompt = side("prompt");
  return row;
}

Row parse_parts(const Columns& columns, Format format) {
  if (format == Format::kPreference) return parse_preference(columns);
  if (format != Format::kText) return parse_conversation(columns, format);
  Row row;
  row.kind = RowKind::kText;
  row.text = columns.text("text");
  return row;
}

int64_t parse_task(const Columns& columns, int64_t tasks) {
  constexpr char kColumn[] = "task_id";
  if (tasks == 1 && columns.find(kColumn) == nullptr) return 0;
  const ordered_json& task = columns.get(kColumn);
  if (task.is_number_integer() && task >= 0 && task < tasks) return task.get<int64_t>();
  throw RowFault("column \"task_id\" is " + shortened(dumped(task)) + "; expected a whole number from 0 to " +
                 std::to_string(tasks - 1) + ", because num_tasks is " + std::to_string(tasks));
}

template <typename Json, typename Function>
void visit_side(Json& side, const Function& function) {
  if (side.is_string()) {
    function(side.template get_ref<std::conditional_t<std::is_const_v<Json>, const std::string&, std::string&>>());
  } else if (side.is_array()) {
    for (auto& item : side) visit_side(item["content"], function);
  }
}

template <typename RowType, typename Function>
void visit_row(RowType& row, const Function& function) {
  visit_side(row.text, function);
  visit_side(row.messages, function);
  visit_side(row.prompt, function);
  visit_side(row.chosen, function);
  visit_side(row.rejected, function);
}

bool is_blank(const ordered_json& side) {
  bool blank = true;
  visit_side(side,
             [&](const std::string& text) { blank = blank && text.find_first_not_of(" \t\r\n") == std::string::npos; });
  return blank;
}

}  // namespace

Format parse_format(const std::string& name) {
  static const std::map<std::string, Format> kFormats = {
      {"text", Format::kText},         {"prompt_completion", Format::kPromptCompletion},
      {"alpaca", Format::kAlpaca},     {"sharegpt", Format::kShareGpt},
      {"messages", Format::kMessages}, {"preference", Format::kPreference}};
  const auto found = kFormats.find(name);
  if (found == kFormats.end()) throw base::Error(base::kInvalidSpec, "there is no format " + name);
  return found->second;
}

RowKind kind_of(Format format) {
  if (format == Format::kText) return RowKind::kText;
  return format == Format::kPreference ? RowKind::kPreference : RowKind::kConversation;
}

void Row::for_each_text(const std::function<void(std::string&)>& change) { visit_row(*this, change); }
void Row::for_each_text(const std::function<void(const std::string&)>& visit) const { visit_row(*this, visit); }

int64_t Row::characters() const {
  int64_t total = 0;
  visit_row(*this, [&](const std::string& part) { total += count_characters(part); });
  return total;
}

std::string Row::useless() const {
  if (kind == RowKind::kText) return is_blank(text) ? "empty" : "";
  if (kind == RowKind::kPreference) {
    return is_blank(chosen) || is_blank(rejected) || (!prompt.is_null() && is_blank(prompt)) ? "empty" : "";
  }
  if (messages.empty()) return "empty";
  bool answered = false;
  for (const ordered_json& item : messages) {
    const bool blank = is_blank(item["content"]) && !item.contains("tool_calls");
    if (blank && (item["role"] == "user" || item["role"] == "assistant")) return "empty";
    answered = answered || item["role"] == "assistant";
  }
  return answered ? "" : "no_answer";
}

Row parse_row(std::string_view line, Format format, const Mapping& mapping, int64_t tasks) {
  const std::string excess = spec::excess_of_json(line);
  if (!excess.empty()) throw RowFault(excess);
  ordered_json parsed;
  try {
    parsed = ordered_json::parse(line);
  } catch (const ordered_json::parse_error& error) {
    const std::string detail = spec::parse_error_reason(error.what());
    const std::string what = detail.find("UTF-8") != std::string::npos ? "is not valid UTF-8" : "is not JSON";
    throw RowFault(what + " at column " + std::to_string(error.byte) + " (" + detail +
                   "); expected one JSON object on each line");
  } catch (const ordered_json::exception& error) {
    throw RowFault(std::string("is not JSON that can be read: ") + spec::parse_error_reason(error.what()));
  }
  if (!parsed.is_object())
    throw RowFault(std::string("is ") + kind_name(parsed) + "; expected one JSON object on each line");
  const Columns columns(parsed, mapping);
  Row row = parse_parts(columns, format);
  if (tasks > 0) row.task_id = parse_task(columns, tasks);
  return row;
}

std::string format_row(const Row& row, Format output) {
  ordered_json result;
  if (output == Format::kText) {
    result["text"] = row.text;
  } else if (output == Format::kPreference) {
    if (!row.prompt.is_null()) result["prompt"] = row.prompt;
    result["chosen"] = row.chosen;
    result["rejected"] = row.rejected;
  } else if (output == Format::kPromptCompletion) {
    if (row.messages.size() != 2 || row.messages[0]["role"] != "user" || row.messages[1]["role"] != "assistant") {
      throw RowFault("has " + std::to_string(row.messages.size()) +
                     " messages; the output format prompt_completion holds one of the user and one of the assistant");
    }
    result["prompt"] = row.messages[0]["content"];
    result["completion"] = row.messages[1]["content"];
  } else {
    result["messages"] = row.messages;
    if (!row.tools.is_null()) result["tools"] = row.tools;
  }
  if (row.task_id >= 0) result["task_id"] = row.task_id;
  return result.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

int64_t count_characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; });
}

}  // namespace slipway::prep
