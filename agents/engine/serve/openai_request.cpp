#include "agents/engine/serve/openai_request.h"

#include "agents/engine/serve/api_error.h"
#include "agents/engine/serve/json_fields.h"
#include "agents/engine/spec/json_bounds.h"

namespace slipway::serve {
namespace {

using nlohmann::ordered_json;

constexpr size_t kMaxMessages = 10'000;
constexpr size_t kMaxPrompts = 2048;
constexpr int64_t kMaxTasks = 1 << 20;

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

std::vector<Prompt> parse_prompts(const JsonFields& fields, const std::string& name) {
  const ordered_json* given = fields.find(name);
  const std::string expected = "a text, a list of texts, a list of token ids, or a list of such lists";
  if (given == nullptr) fields.fail(name, expected);
  std::vector<Prompt> prompts;
  if (given->is_string()) {
    prompts.emplace_back(given->get<std::string>());
  } else if (given->is_array() && !given->empty() && (*given)[0].is_number()) {
    prompts.emplace_back(token_id_list(*given, name, static_cast<size_t>(kMaxTokens)));
  } else if (given->is_array() && !given->empty() && given->size() <= kMaxPrompts) {
    for (const ordered_json& item : *given) {
      if (item.is_string()) {
        prompts.emplace_back(item.get<std::string>());
      } else if (item.is_array()) {
        prompts.emplace_back(token_id_list(item, name, static_cast<size_t>(kMaxTokens)));
      } else {
        fields.fail(name, expected);
      }
    }
  } else {
    fields.fail(name, expected + " (at most " + std::to_string(kMaxPrompts) + ")");
  }
  return prompts;
}

// Clients send a call's arguments as a text that holds JSON; templates want the JSON itself.
void open_arguments(ordered_json& message, const std::string& where) {
  const auto calls = message.find("tool_calls");
  if (calls == message.end() || calls->is_null()) return;
  const auto fail = [&](const std::string& expected) {
    throw ApiError(400, where + ".tool_calls must be " + expected, where + ".tool_calls", "invalid_value");
  };
  if (!calls->is_array()) fail("a list of calls");
  for (ordered_json& call : *calls) {
    if (!call.is_object() || !call.contains("function") || !call["function"].is_object()) {
      fail("a list of {\"id\", \"type\": \"function\", \"function\": {\"name\", \"arguments\"}}");
    }
    const auto arguments = call["function"].find("arguments");
    if (arguments == call["function"].end() || !arguments->is_string()) continue;
    const std::string text = arguments->get<std::string>();
    ordered_json parsed = text.empty() ? ordered_json::object() : ordered_json::parse(text, nullptr, false);
    if (parsed.is_discarded() || !spec::excess_of_json(text).empty()) fail("calls whose arguments are JSON");
    *arguments = std::move(parsed);
  }
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
    open_arguments(message, where);
    messages.push_back(std::move(message));
  }
  return messages;
}

void read_best_of(const JsonFields& fields, CompletionOptions& options) {
  options.best_of = fields.integer("best_of", 1, kMaxChoices).value_or(options.n);
  if (options.best_of < options.n) throw ApiError(400, "best_of must be at least n", "best_of", "invalid_value");
  if (options.best_of > options.n && options.stream) {
    throw ApiError(400, "best_of above n cannot be streamed: which answers are the best is known at their end",
                   "best_of", "invalid_value");
  }
}

ChatRequest chat_request(const ordered_json& body, bool for_generation) {
  const JsonFields fields(body);
  ChatRequest request;
  if (for_generation) {
    request.options = parse_options(fields, 1);
    if (fields.integer("best_of", 1, kMaxChoices).value_or(request.options.n) != request.options.n)
      refuse_unsupported("best_of", "/v1/completions has it, chats do not");
    if (const auto limit = fields.integer("max_completion_tokens", 1, kMaxTokens)) request.options.max_tokens = limit;
    request.options.logprobs = fields.boolean("logprobs").value_or(false);
    const auto top = fields.integer("top_logprobs", 0, kMaxTopLogprobs);
    if (top && *top > 0 && !request.options.logprobs) {
      throw ApiError(400, "top_logprobs needs logprobs to be true", "top_logprobs", "invalid_value");
    }
    if (request.options.logprobs) request.options.sampling.top_logprobs = static_cast<int>(top.value_or(0));
  } else {
    request.options.model = fields.text("model").value_or("");
  }
  request.messages = parse_messages(fields);
  request.tools = parse_tools(fields);
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
  request.options = parse_options(fields, 0);  // 0, with echo: how evaluations score a text
  if (const auto logprobs = fields.integer("logprobs", 0, kMaxTopLogprobs)) {
    request.options.logprobs = true;
    request.options.sampling.top_logprobs = static_cast<int>(*logprobs);
  }
  request.echo = fields.boolean("echo").value_or(false);
  if (const auto suffix = fields.text("suffix"); suffix && !suffix->empty()) {
    refuse_unsupported("suffix", "this server's models write on from the prompt, they do not fill in");
  }
  request.add_special_tokens = fields.boolean("add_special_tokens").value_or(true);
  read_best_of(fields, request.options);
  request.prompts = parse_prompts(fields, "prompt");
  return request;
}

EmbeddingsRequest parse_embeddings_request(std::string_view text) {
  const ordered_json body = parse_body(text);
  const JsonFields fields(body);
  EmbeddingsRequest request;
  request.model = fields.text("model").value_or("");
  request.inputs = parse_prompts(fields, "input");
  request.priority = fields.integer("priority", -kMaxPriority, kMaxPriority).value_or(0);
  request.dimensions = fields.integer("dimensions", 1, kMaxTokens);
  const std::string format = fields.text("encoding_format").value_or("float");
  if (format != "float" && format != "base64") fields.fail("encoding_format", "float or base64");
  request.base64 = format == "base64";
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
  AdapterRequest request{fields.text("lora_name").value_or(""), fields.text("lora_path").value_or(""),
                         fields.text("base_model_name").value_or(""),
                         fields.integer("task_id", 0, kMaxTasks).value_or(0)};
  if (request.name.empty()) fields.fail("lora_name", "a name that is not empty");
  if (request.path.empty()) fields.fail("lora_path", "the path of a PEFT folder");
  return request;
}

AdapterRequest parse_unload_adapter_request(std::string_view text) {
  const ordered_json body = parse_body(text);
  const JsonFields fields(body);
  AdapterRequest request{fields.text("lora_name").value_or("")};
  if (request.name.empty()) fields.fail("lora_name", "a name that is not empty");
  return request;
}

}  // namespace slipway::serve
