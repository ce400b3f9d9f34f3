#include "agents/engine/serve/openai_request.h"

#include <algorithm>
#include <limits>

#include "agents/engine/serve/api_error.h"
#include "agents/engine/serve/json_fields.h"

namespace slipway::serve {
namespace {

using nlohmann::ordered_json;

constexpr int64_t kMaxTokens = 1 << 24;
constexpr int64_t kMaxChoices = 128;
constexpr size_t kMaxStops = 64;
constexpr size_t kMaxStopBytes = 1024;
constexpr size_t kMaxMessages = 10'000;
constexpr size_t kMaxPrompts = 1024;
constexpr int64_t kMaxTopLogprobs = 20;

// What the API knows but this server cannot do is refused rather than ignored: the answer would be wrong.
[[noreturn]] void refuse_unsupported(const std::string& name, const std::string& why) {
  throw ApiError(400, name + " is not supported" + (why.empty() ? "" : ": " + why), name, "unsupported_parameter");
}

CompletionOptions parse_options(const JsonFields& fields) {
  CompletionOptions options;
  options.model = fields.text("model").value_or("");
  options.n = fields.integer("n", 1, kMaxChoices).value_or(1);
  const int64_t best_of = fields.integer("best_of", 1, kMaxChoices).value_or(options.n);
  if (best_of != options.n) refuse_unsupported("best_of", "it must equal n");
  options.max_tokens = fields.integer("max_tokens", 1, kMaxTokens);
  if (const auto seed =
          fields.integer("seed", std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max())) {
    options.seed = static_cast<uint64_t>(*seed);
  }
  options.stop = fields.texts("stop", kMaxStops);
  for (const std::string& stop : options.stop) {
    if (stop.empty() || stop.size() > kMaxStopBytes) {
      throw ApiError(400, "stop must hold texts of 1 to " + std::to_string(kMaxStopBytes) + " bytes", "stop",
                     "invalid_value");
    }
  }
  options.stop_token_ids = fields.token_ids("stop_token_ids", kMaxStops);
  options.min_tokens = fields.integer("min_tokens", 0, kMaxTokens).value_or(0);
  if (options.max_tokens && options.min_tokens > *options.max_tokens) {
    throw ApiError(400, "min_tokens must be at most max_tokens", "min_tokens", "invalid_value");
  }
  options.ignore_eos = fields.boolean("ignore_eos").value_or(false);
  options.skip_special_tokens = fields.boolean("skip_special_tokens").value_or(true);
  options.include_stop_str_in_output = fields.boolean("include_stop_str_in_output").value_or(false);
  options.stream = fields.boolean("stream").value_or(false);
  if (const ordered_json* stream_options = fields.find("stream_options")) {
    if (!options.stream)
      throw ApiError(400, "stream_options needs stream to be true", "stream_options", "invalid_value");
    if (!stream_options->is_object()) fields.fail("stream_options", "an object");
    options.include_usage = JsonFields(*stream_options, "stream_options.").boolean("include_usage").value_or(false);
  }
  runtime::SamplingOptions& sampling = options.sampling;
  sampling.temperature = fields.number("temperature", 0.0, 2.0).value_or(1.0);
  sampling.top_p = fields.number("top_p", 0.0, 1.0).value_or(1.0);
  sampling.top_k = std::max<int64_t>(0, fields.integer("top_k", -1, kMaxTokens).value_or(0));
  sampling.min_p = fields.number("min_p", 0.0, 1.0).value_or(0.0);
  sampling.repetition_penalty = fields.number("repetition_penalty", 0.01, 10.0).value_or(1.0);
  sampling.presence_penalty = fields.number("presence_penalty", -2.0, 2.0).value_or(0.0);
  sampling.frequency_penalty = fields.number("frequency_penalty", -2.0, 2.0).value_or(0.0);
  if (const ordered_json* bias = fields.find("logit_bias"); bias != nullptr && !bias->empty())
    refuse_unsupported("logit_bias", "");
  for (const char* guide : {"guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs"}) {
    if (fields.find(guide) != nullptr) refuse_unsupported(guide, "constrained output is not built in yet");
  }
  if (const ordered_json* format = fields.find("response_format")) {
    if (!format->is_object() || format->value("type", ordered_json()) != "text") {
      refuse_unsupported("response_format", "only {\"type\": \"text\"} is; constrained output is not built in yet");
    }
  }
  return options;
}

// Content as one text: templates of text models take no parts.
std::string content_text(const ordered_json& content, const std::string& where) {
  if (content.is_string()) return content.get<std::string>();
  if (content.is_null()) return "";
  if (!content.is_array())
    throw ApiError(400, where + " must be a text or a list of parts, not " + shown(content), where, "invalid_value");
  std::string text;
  for (const ordered_json& part : content) {
    const bool good = part.is_object() && part.contains("type") && part["type"] == "text" && part.contains("text") &&
                      part["text"].is_string();
    if (!good)
      throw ApiError(400, where + " holds a part that is not text; this model reads text only", where, "invalid_value");
    text += part["text"].get<std::string>();
  }
  return text;
}

ordered_json parse_messages(const JsonFields& fields) {
  const ordered_json* given = fields.find("messages");
  if (given == nullptr || !given->is_array() || given->empty() || given->size() > kMaxMessages) {
    fields.fail("messages", "a list of 1 to " + std::to_string(kMaxMessages) + " messages");
  }
  ordered_json messages = ordered_json::array();
  for (size_t i = 0; i < given->size(); ++i) {
    const ordered_json& item = (*given)[i];
    const std::string where = "messages[" + std::to_string(i) + "]";
    if (!item.is_object())
      throw ApiError(400, where + " must be an object {\"role\", \"content\"}, not " + shown(item), where,
                     "invalid_value");
    if (!item.contains("role") || !item["role"].is_string() || item["role"].get_ref<const std::string&>().empty()) {
      throw ApiError(400, where + ".role must be a text: system, user, assistant or tool", where + ".role",
                     "invalid_value");
    }
    if (!item.contains("content") && !item.contains("tool_calls")) {
      throw ApiError(400, where + ".content is missing", where + ".content", "invalid_value");
    }
    ordered_json message = item;
    message["content"] = item.contains("content") ? content_text(item["content"], where + ".content") : "";
    messages.push_back(std::move(message));
  }
  return messages;
}

ChatRequest chat_request(const ordered_json& body, bool for_generation) {
  const JsonFields fields(body);
  ChatRequest request;
  if (for_generation) {
    request.options = parse_options(fields);
    if (const auto limit = fields.integer("max_completion_tokens", 1, kMaxTokens)) request.options.max_tokens = limit;
    request.options.logprobs = fields.boolean("logprobs").value_or(false);
    const auto top = fields.integer("top_logprobs", 0, kMaxTopLogprobs);
    if (top && *top > 0 && !request.options.logprobs) {
      throw ApiError(400, "top_logprobs needs logprobs to be true", "top_logprobs", "invalid_value");
    }
    if (request.options.logprobs) request.options.sampling.top_logprobs = static_cast<int>(top.value_or(0));
    if (const ordered_json* choice = fields.find("tool_choice");
        choice != nullptr && *choice != "auto" && *choice != "none") {
      refuse_unsupported("tool_choice", "only auto and none are");
    }
  } else {
    request.options.model = fields.text("model").value_or("");
  }
  request.messages = parse_messages(fields);
  if (const ordered_json* tools = fields.find("tools")) {
    if (!tools->is_array()) fields.fail("tools", "a list");
    const ordered_json* choice = fields.find("tool_choice");
    if (!tools->empty() && (choice == nullptr || *choice != "none")) request.tools = *tools;
  }
  if (const ordered_json* arguments = fields.find("chat_template_kwargs")) {
    if (!arguments->is_object()) fields.fail("chat_template_kwargs", "an object");
    request.template_arguments = *arguments;
  }
  request.add_generation_prompt = fields.boolean("add_generation_prompt").value_or(true);
  if (fields.find("chat_template") != nullptr) refuse_unsupported("chat_template", "the model's own template is used");
  if (fields.boolean("continue_final_message").value_or(false)) refuse_unsupported("continue_final_message", "");
  return request;
}

}  // namespace

ChatRequest parse_chat_request(std::string_view body) { return chat_request(parse_body(body), true); }

TextRequest parse_text_request(std::string_view text) {
  const ordered_json body = parse_body(text);
  const JsonFields fields(body);
  TextRequest request;
  request.options = parse_options(fields);
  if (const auto logprobs = fields.integer("logprobs", 0, kMaxTopLogprobs)) {
    request.options.logprobs = true;
    request.options.sampling.top_logprobs = static_cast<int>(*logprobs);
  }
  request.echo = fields.boolean("echo").value_or(false);
  if (request.echo && request.options.logprobs) refuse_unsupported("echo", "together with logprobs");
  if (const auto suffix = fields.text("suffix"); suffix && !suffix->empty()) refuse_unsupported("suffix", "");
  request.add_special_tokens = fields.boolean("add_special_tokens").value_or(true);

  const ordered_json* prompt = fields.find("prompt");
  const std::string expected = "a text, a list of texts, a list of token ids, or a list of such lists";
  if (prompt == nullptr) fields.fail("prompt", expected);
  if (prompt->is_string()) {
    request.prompts.emplace_back(prompt->get<std::string>());
  } else if (prompt->is_array() && !prompt->empty() && (*prompt)[0].is_number()) {
    request.prompts.emplace_back(token_id_list(*prompt, "prompt", static_cast<size_t>(kMaxTokens)));
  } else if (prompt->is_array() && !prompt->empty() && prompt->size() <= kMaxPrompts) {
    for (const ordered_json& item : *prompt) {
      if (item.is_string()) {
        request.prompts.emplace_back(item.get<std::string>());
      } else if (item.is_array()) {
        request.prompts.emplace_back(token_id_list(item, "prompt", static_cast<size_t>(kMaxTokens)));
      } else {
        fields.fail("prompt", expected);
      }
    }
  } else {
    fields.fail("prompt", expected + " (at most " + std::to_string(kMaxPrompts) + ")");
  }
  return request;
}

TokenizeRequest parse_tokenize_request(std::string_view text) {
  const ordered_json body = parse_body(text);
  const JsonFields fields(body);
  TokenizeRequest request;
  request.model = fields.text("model").value_or("");
  request.return_token_strs = fields.boolean("return_token_strs").value_or(false);
  if (fields.find("messages") != nullptr) {
    request.prompt = chat_request(body, false);
    request.add_special_tokens = fields.boolean("add_special_tokens").value_or(false);
    return request;
  }
  const auto prompt = fields.text("prompt");
  if (!prompt) fields.fail("prompt", "a text (or give messages)");
  request.prompt = *prompt;
  request.add_special_tokens = fields.boolean("add_special_tokens").value_or(true);
  return request;
}

DetokenizeRequest parse_detokenize_request(std::string_view text) {
  const ordered_json body = parse_body(text);
  const JsonFields fields(body);
  if (fields.find("tokens") == nullptr) fields.fail("tokens", "a list of token ids");
  return {fields.text("model").value_or(""), fields.token_ids("tokens", static_cast<size_t>(kMaxTokens))};
}

AdapterRequest parse_load_adapter_request(std::string_view text) {
  const ordered_json body = parse_body(text);
  const JsonFields fields(body);
  AdapterRequest request{fields.text("lora_name").value_or(""), fields.text("lora_path").value_or("")};
  if (request.name.empty()) fields.fail("lora_name", "a name that is not empty");
  if (request.path.empty()) fields.fail("lora_path", "the path of a PEFT folder");
  return request;
}

AdapterRequest parse_unload_adapter_request(std::string_view text) {
  const ordered_json body = parse_body(text);
  const JsonFields fields(body);
  AdapterRequest request{fields.text("lora_name").value_or(""), ""};
  if (request.name.empty()) fields.fail("lora_name", "a name that is not empty");
  return request;
}

}  // namespace slipway::serve
