// Request bodies of the OpenAI API, as vLLM extends it: JSON from strangers -> checked values. Used by api.cpp.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "agents/engine/runtime/engine.h"

namespace slipway::serve {

// What chat and text completions share.
struct CompletionOptions {
  std::string model;  // empty: the base model
  int64_t n = 1;
  std::optional<int64_t> max_tokens;
  std::optional<uint64_t> seed;
  std::vector<std::string> stop;
  std::vector<int32_t> stop_token_ids;
  int64_t min_tokens = 0;
  bool ignore_eos = false;
  bool skip_special_tokens = true;
  bool include_stop_str_in_output = false;
  bool stream = false;
  bool include_usage = false;
  bool logprobs = false;
  runtime::SamplingOptions sampling;
};

struct ChatRequest {
  CompletionOptions options;
  nlohmann::ordered_json messages;
  nlohmann::ordered_json tools;               // null: none
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
  std::string path;  // empty for unloading
};

// Each throws ApiError 400 that names the field, what was expected, and what came.
ChatRequest parse_chat_request(std::string_view body);
TextRequest parse_text_request(std::string_view body);
TokenizeRequest parse_tokenize_request(std::string_view body);
DetokenizeRequest parse_detokenize_request(std::string_view body);
AdapterRequest parse_load_adapter_request(std::string_view body);
AdapterRequest parse_unload_adapter_request(std::string_view body);

}  // namespace slipway::serve
