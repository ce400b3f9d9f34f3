// What a request says about the form of its answer: OpenAI's response_format, vLLM's guided_* and structured_outputs.
// Used by completion_options.cpp; tools.cpp joins it with the form of tool calls.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "agents/engine/runtime/grammar_module.h"
#include "agents/engine/serve/json_fields.h"

namespace slipway::serve {

struct OutputFormat {
  runtime::GrammarKind kind = runtime::GrammarKind::kJsonSchema;
  std::string text;   // the schema as JSON, the expression, the EBNF, or the structural tag
  std::string field;  // of the request, for messages
};

// Nothing: free text. Throws ApiError 400 that names the field.
std::optional<OutputFormat> parse_output_format(const JsonFields& fields);

// The format as an element of XGrammar's structural tags.
nlohmann::ordered_json structural_element(const OutputFormat& format);

}  // namespace slipway::serve
