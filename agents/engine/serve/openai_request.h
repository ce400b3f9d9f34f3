// Request bodies of the OpenAI API, as vLLM extends it: JSON from strangers -> checked values. Used by api.cpp.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "agents/engine/serve/completion_options.h"
#include "agents/engine/serve/tools.h"

namespace slipway::serve {

struct ChatRequest {
  CompletionOptions options;
  nlohmann::ordered_json messages;
  Tools tools;
  nlohmann::ordered_json template_arguments;  // chat_template_kwargs
  bool add_generation_prompt = true;
};

using Prompt = std::variant<std::string, std::vector<int32_t>>;

struct TextRequest {
  CompletionOptions options;
  std::vector<Prompt> prompts;
  bool echo = false;
  bool add_special_tokens = true;
};

struct EmbeddingsRequest {
  std::string model;  // empty: the base model
  std::vector<Prompt> inputs;
  bool base64 = false;  // each vector as text: its little-endian 32-bit floats in base 64
  int64_t priority = 0;
  std::optional<int64_t> dimensions;
};

struct TokenizeRequest {
  std::string model;
  std::variant<std::string, ChatRequest> prompt;
  bool add_special_tokens = true;
  bool return_token_strs = false;
};

struct DetokenizeRequest {
  std::string model;
  std::vector<int32_t> tokens;
};

struct AdapterRequest {
  std::string name;
  std::string path = {};        // empty for unloading
  std::string base_model = {};  // served name of the model to load it on; empty: the first
  int64_t task_id = 0;          // whose prompt, of a multitask prompt tuning adapter
};

// Each throws ApiError 400 that names the field, what was expected, and what came.
ChatRequest parse_chat_request(std::string_view body);
TextRequest parse_text_request(std::string_view body);
EmbeddingsRequest parse_embeddings_request(std::string_view body);
TokenizeRequest parse_tokenize_request(std::string_view body);
DetokenizeRequest parse_detokenize_request(std::string_view body);
AdapterRequest parse_load_adapter_request(std::string_view body);
AdapterRequest parse_unload_adapter_request(std::string_view body);

}  // namespace slipway::serve
