// Tools of a chat request: what the client offers, how the model's family writes its calls, and the grammar that makes
// it call. tool_parser.h reads the calls back out of the answer. Used by openai_request.cpp and api.cpp.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "agents/engine/serve/json_fields.h"
#include "agents/engine/serve/output_format.h"

namespace slipway::serve {

// How a family writes a call of f with arguments {...}.
enum class ToolFormat {
  kHermes,       // <tool_call>\n{"name": "f", "arguments": {...}}\n</tool_call>: Hermes, Qwen and many others
  kLlama,        // {"name": "f", "parameters": {...}}, perhaps after <|python_tag|>; several separated by "; "
  kMistralList,  // [TOOL_CALLS][{"name": "f", "arguments": {...}}, …]
  kMistralArgs,  // [TOOL_CALLS]f[ARGS]{...}, again for each call
};

enum class ToolChoice { kNone, kAuto, kRequired, kNamed };

struct Tools {
  nlohmann::ordered_json list;  // as the client gave them: [{"type": "function", "function": {...}}]
  ToolChoice choice = ToolChoice::kAuto;
  std::string name;  // of the function that must be called, for kNamed
  bool parallel = true;

  bool active() const { return choice != ToolChoice::kNone && !list.empty(); }
};

// tools, tool_choice and parallel_tool_calls. Throws ApiError 400 that names the field.
Tools parse_tools(const JsonFields& fields);

// What the model's template writes; families that we do not know, and templates without tools, get kHermes.
ToolFormat tool_format(const std::string& chat_template);

// Whether a template writes the tools into the prompt itself; else tool_instructions() must be said to the model.
bool template_knows_tools(const std::string& chat_template);
// A system message that offers the tools and asks for calls as in kHermes.
std::string tool_instructions(const nlohmann::ordered_json& tools);

// The texts around a call, the one that begins it first. In the family's vocabulary they are special tokens, which must
// not be left out of the answer before its calls are read.
std::vector<std::string> tool_markers(ToolFormat format);

// What the answer must look like: calls alone when the request asks for them; `wanted` or calls when both are asked
// for; nothing when the model is free to choose.
std::optional<OutputFormat> tool_grammar(const Tools& tools, ToolFormat format,
                                         const std::optional<OutputFormat>& wanted);

}  // namespace slipway::serve
