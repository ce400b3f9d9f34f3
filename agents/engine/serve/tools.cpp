#include "agents/engine/serve/tools.h"

#include <algorithm>
#include <set>

#include "agents/engine/serve/api_error.h"

namespace slipway::serve {
namespace {

using nlohmann::ordered_json;

constexpr size_t kMaxTools = 512;
constexpr size_t kMaxNameBytes = 64;

void check_tool(const ordered_json& tool, const std::string& where, std::set<std::string>& names) {
  const auto fail = [&](const std::string& field, const std::string& message) {
    throw ApiError(400, where + field + " " + message, where + field, "invalid_value");
  };
  if (!tool.is_object()) fail("", "must be an object, not " + shown(tool));
  if (tool.value("type", ordered_json()) != "function") fail(".type", "must be function; this server runs no tools");
  const auto function = tool.find("function");
  if (function == tool.end() || !function->is_object()) fail(".function", "must be an object");
  const auto name = function->find("name");
  if (name == function->end() || !name->is_string()) fail(".function.name", "must be a text");
  const auto& text = name->get_ref<const std::string&>();
  constexpr char kAllowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
  if (text.empty() || text.size() > kMaxNameBytes || text.find_first_not_of(kAllowed) != std::string::npos) {
    fail(".function.name", "must have 1 to 64 letters, digits, underscores, dashes and dots");
  }
  if (!names.insert(text).second) fail(".function.name", "is the name of another tool too: " + text);
  const auto parameters = function->find("parameters");
  if (parameters != function->end() && !parameters->is_null() && !parameters->is_object()) {
    fail(".function.parameters", "must be a JSON Schema");
  }
}

std::string named_function(const ordered_json& choice) {
  if (!choice.is_object() || choice.value("type", ordered_json()) != "function") return "";
  const auto function = choice.find("function");
  if (function == choice.end() || !function->is_object()) return "";
  const auto name = function->find("name");
  return name != function->end() && name->is_string() ? name->get<std::string>() : "";
}

// One function's call as a tag: what is written around its arguments.
ordered_json call_tag(const ordered_json& tool, ToolFormat format) {
  const ordered_json& function = tool["function"];
  const auto& name = function["name"].get_ref<const std::string&>();
  const auto parameters = function.find("parameters");
  const ordered_json schema =
      parameters != function.end() && parameters->is_object() ? *parameters : ordered_json({{"type", "object"}});
  std::string begin, end = "}";
  switch (format) {
    case ToolFormat::kHermes:
      begin = "<tool_call>\n{\"name\": \"" + name + "\", \"arguments\": ";
      end = "}\n</tool_call>";
      break;
    case ToolFormat::kLlama:
      begin = "{\"name\": \"" + name + "\", \"parameters\": ";
      break;
    case ToolFormat::kMistralList:
      begin = "{\"name\": \"" + name + "\", \"arguments\": ";
      break;
    case ToolFormat::kMistralArgs:
      begin = "[TOOL_CALLS]" + name + "[ARGS]";
      end = "";
      break;
  }
  return {{"type", "tag"},
          {"begin", begin},
          {"content", {{"type", "json_schema"}, {"json_schema", schema}, {"max_whitespace_cnt", 32}}},
          {"end", end}};
}

ordered_json calls_element(const Tools& tools, ToolFormat format) {
  ordered_json tags = ordered_json::array();
  for (const ordered_json& tool : tools.list) {
    if (tools.choice != ToolChoice::kNamed || tool["function"]["name"] == tools.name) {
      tags.push_back(call_tag(tool, format));
    }
  }
  const char* separator = format == ToolFormat::kHermes        ? "\n"
                          : format == ToolFormat::kLlama       ? "; "
                          : format == ToolFormat::kMistralList ? ", "
                                                               : "";
  ordered_json calls = {{"type", "tags_with_separator"},
                        {"tags", tags},
                        {"separator", separator},
                        {"at_least_one", true},
                        {"stop_after_first", !tools.parallel || tools.choice == ToolChoice::kNamed}};
  if (format != ToolFormat::kMistralList) return calls;
  const auto constant = [](const char* text) { return ordered_json({{"type", "const_string"}, {"value", text}}); };
  return {{"type", "sequence"}, {"elements", {constant("[TOOL_CALLS]["), calls, constant("]")}}};
}

}  // namespace

Tools parse_tools(const JsonFields& fields) {
  Tools tools;
  tools.list = ordered_json::array();
  tools.parallel = fields.boolean("parallel_tool_calls").value_or(true);
  if (const ordered_json* given = fields.find("tools")) {
    if (!given->is_array() || given->size() > kMaxTools) {
      fields.fail("tools", "a list of at most " + std::to_string(kMaxTools) + " tools");
    }
    std::set<std::string> names;
    for (size_t i = 0; i < given->size(); ++i) check_tool((*given)[i], "tools[" + std::to_string(i) + "]", names);
    tools.list = *given;
  }
  const ordered_json* choice = fields.find("tool_choice");
  if (choice == nullptr || *choice == "auto") return tools;
  if (*choice == "none") {
    tools.choice = ToolChoice::kNone;
    return tools;
  }
  tools.name = named_function(*choice);
  if (*choice == "required") {
    tools.choice = ToolChoice::kRequired;
  } else if (!tools.name.empty()) {
    tools.choice = ToolChoice::kNamed;
  } else {
    fields.fail("tool_choice", "none, auto, required, or {\"type\": \"function\", \"function\": {\"name\": …}}");
  }
  if (tools.list.empty()) throw ApiError(400, "tool_choice asks for a call, but there are no tools", "tool_choice");
  const auto matches = [&](const ordered_json& tool) { return tool["function"]["name"] == tools.name; };
  if (tools.choice == ToolChoice::kNamed && std::none_of(tools.list.begin(), tools.list.end(), matches)) {
    throw ApiError(400, "tool_choice names " + tools.name.substr(0, 100) + ", which is not among the tools",
                   "tool_choice", "invalid_value");
  }
  return tools;
}

ToolFormat tool_format(const std::string& chat_template) {
  const auto has = [&](const char* text) { return chat_template.find(text) != std::string::npos; };
  if (has("[TOOL_CALLS]")) return has("[ARGS]") ? ToolFormat::kMistralArgs : ToolFormat::kMistralList;
  if (has("<tool_call>")) return ToolFormat::kHermes;
  // Llama 3.1 and 3.3 write the tag themselves; 3.2 only explains the format.
  if (has("<|python_tag|>") || has("{\"name\": function name, \"parameters\":")) return ToolFormat::kLlama;
  return ToolFormat::kHermes;
}

bool template_knows_tools(const std::string& chat_template) { return chat_template.find("tools") != std::string::npos; }

std::string tool_instructions(const ordered_json& tools) {
  std::string text =
      "You may call one or more functions to assist with the user query.\n\nThe functions are within <tools></tools> "
      "tags:\n<tools>";
  for (const ordered_json& tool : tools) text += "\n" + tool.dump();
  return text +
         "\n</tools>\n\nFor each function call, return a JSON object with the function's name and arguments within "
         "<tool_call></tool_call> tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": "
         "<args-json-object>}\n</tool_call>";
}

std::vector<std::string> tool_markers(ToolFormat format) {
  switch (format) {
    case ToolFormat::kHermes:
      return {"<tool_call>", "</tool_call>"};
    case ToolFormat::kLlama:
      return {"<|python_tag|>"};
    case ToolFormat::kMistralList:
    case ToolFormat::kMistralArgs:
      break;
  }
  return {"[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"};
}

std::optional<OutputFormat> tool_grammar(const Tools& tools, ToolFormat format,
                                         const std::optional<OutputFormat>& wanted) {
  if (!tools.active()) return wanted;
  if (tools.choice == ToolChoice::kAuto && !wanted) return std::nullopt;
  ordered_json element = calls_element(tools, format);
  if (tools.choice == ToolChoice::kAuto) {
    element = {{"type", "or"}, {"elements", {structural_element(*wanted), element}}};
  }
  const ordered_json tag = {{"type", "structural_tag"}, {"format", element}};
  return OutputFormat{runtime::GrammarKind::kStructuralTag, tag.dump(), "tools"};
}

}  // namespace slipway::serve
