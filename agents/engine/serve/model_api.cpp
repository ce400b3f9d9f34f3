#include "agents/engine/serve/model_api.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "agents/engine/serve/api_error.h"
#include "agents/engine/serve/embeddings.h"
#include "agents/engine/serve/openai_response.h"
#include "agents/engine/text/tokenizer.h"
#include "backend/base/error.h"
#include "backend/base/ids.h"

namespace slipway::serve {
namespace {

using nlohmann::ordered_json;

constexpr int64_t kDefaultTextTokens = 16;   // OpenAI's default of max_tokens for /v1/completions
constexpr int64_t kMostBytesPerToken = 256;  // no vocabulary in use has longer tokens in any number

[[noreturn]] void fail_outside_vocabulary(const std::string& field, int32_t id, int64_t vocabulary) {
  throw ApiError(
      400, field + " holds token " + std::to_string(id) + "; the vocabulary ends at " + std::to_string(vocabulary - 1),
      field, "invalid_value");
}

// Given back by the first of: the end of the request, the end of what answers it.
std::function<void()> released_at_end(Places places, ModelLease model) {
  return [places = std::move(places), model = std::move(model)]() mutable { places.reset(); };
}

}  // namespace

int64_t ModelApi::context_length() const {
  return model_->generator->max_model_len() - model_->generator->virtual_tokens(target_.adapter);
}

void ModelApi::fail_too_long(const std::string& what, const std::string& field) const {
  const int64_t whole = model_->generator->max_model_len(), left = context_length();
  std::string message = "this model's context holds " + std::to_string(whole) + " tokens";
  if (left < whole) message += ", of which the adapter's virtual tokens take " + std::to_string(whole - left);
  throw ApiError(400, message + "; " + what, field, "context_length_exceeded");
}

void ModelApi::chat(const std::shared_ptr<Exchange>& exchange, const ChatRequest& request, Places places) const {
  // The template writes the special tokens itself.
  GenerationPlan plan;
  plan.prompts = {encode(model_->chat_prompt.render(request), false, "messages")};
  CompletionOptions options = request.options;
  if (request.tools.active()) {
    plan.tool_format = model_->chat_prompt.tool_format();
    plan.named_tool = request.tools.choice == ToolChoice::kNamed;
    options.output_format = tool_grammar(request.tools, *plan.tool_format, options.output_format);
  }
  generate(exchange, ResponseKind::kChat, options, std::move(plan), "messages", std::move(places));
}

void ModelApi::text(const std::shared_ptr<Exchange>& exchange, const TextRequest& request, Places places) const {
  GenerationPlan plan;
  for (const Prompt& prompt : request.prompts) {
    plan.prompts.push_back(prompt_tokens(prompt, request.add_special_tokens, "prompt"));
    if (!request.echo) continue;
    const auto* text = std::get_if<std::string>(&prompt);
    plan.echo.push_back(text != nullptr ? *text : model_->tokenizer->decode(plan.prompts.back(), true));
  }
  generate(exchange, ResponseKind::kText, request.options, std::move(plan), "prompt", std::move(places));
}

void ModelApi::embeddings(const std::shared_ptr<Exchange>& exchange, const EmbeddingsRequest& request,
                          Places places) const {
  const Generator& generator = *model_->generator;
  if (request.dimensions && *request.dimensions != generator.hidden_size()) {
    throw ApiError(400,
                   "dimensions is " + std::to_string(*request.dimensions) + "; this model's embeddings have " +
                       std::to_string(generator.hidden_size()) + " and cannot be cut",
                   "dimensions", "invalid_value");
  }
  EmbeddingsPlan plan;
  const int64_t limit = context_length();
  for (const Prompt& input : request.inputs) {
    plan.inputs.push_back(prompt_tokens(input, true, "input"));
    const auto length = static_cast<int64_t>(plan.inputs.back().size());
    if (length == 0) throw ApiError(400, "input holds an empty text", "input", "invalid_value");
    if (length > limit) fail_too_long("an input has " + std::to_string(length) + "; shorten it", "input");
  }
  const int64_t now_ms = clock_.now_ms();
  plan.id = base::new_id("embd", now_ms);
  plan.created = now_ms / 1000;
  plan.model = name_;
  plan.adapter = target_.adapter;
  plan.priority = request.priority;
  plan.base64 = request.base64;
  std::make_shared<Embeddings>(std::move(plan), exchange, *model_->generator,
                               released_at_end(std::move(places), model_))
      ->start();
}

HttpResponse ModelApi::tokenize(const TokenizeRequest& request) const {
  const text::Tokenizer& tokenizer = *model_->tokenizer;
  const bool chat = std::holds_alternative<ChatRequest>(request.prompt);
  const std::string text =
      chat ? model_->chat_prompt.render(std::get<ChatRequest>(request.prompt)) : std::get<std::string>(request.prompt);
  const std::vector<int32_t> tokens = tokenizer.encode(text, request.add_special_tokens);
  ordered_json body = {{"count", tokens.size()}, {"max_model_len", context_length()}, {"tokens", tokens}};
  if (request.return_token_strs) {
    body["token_strs"] = ordered_json::array();
    for (const int32_t token : tokens) body["token_strs"].push_back(tokenizer.id_to_token(token));
  }
  return json_response(body);
}

HttpResponse ModelApi::detokenize(const DetokenizeRequest& request) const {
  const text::Tokenizer& tokenizer = *model_->tokenizer;
  for (const int32_t token : request.tokens) {
    if (token >= tokenizer.vocab_size()) fail_outside_vocabulary("tokens", token, tokenizer.vocab_size());
  }
  return json_response({{"prompt", tokenizer.decode(request.tokens, false)}});
}

std::vector<int32_t> ModelApi::encode(const std::string& text, bool add_special, const std::string& field) const {
  // Far too long is said before the work of tokenising, not after.
  if (static_cast<int64_t>(text.size()) > context_length() * kMostBytesPerToken) {
    fail_too_long("the " + field + " has " + std::to_string(text.size()) + " bytes; shorten it", field);
  }
  return model_->tokenizer->encode(text, add_special);
}

std::vector<int32_t> ModelApi::prompt_tokens(const Prompt& prompt, bool add_special, const std::string& field) const {
  if (const auto* text = std::get_if<std::string>(&prompt)) return encode(*text, add_special, field);
  const auto& ids = std::get<std::vector<int32_t>>(prompt);
  const int64_t limit = std::min<int64_t>(model_->tokenizer->vocab_size(), model_->generator->vocab_size());
  for (const int32_t id : ids) {
    if (id >= limit) fail_outside_vocabulary(field, id, limit);
  }
  return ids;
}

void ModelApi::check_lengths(ResponseKind kind, const CompletionOptions& options, const std::string& prompt_field,
                             GenerationPlan& plan) const {
  const int64_t limit = context_length();
  for (const auto& prompt : plan.prompts) {
    const auto length = static_cast<int64_t>(prompt.size());
    if (length == 0)
      throw ApiError(400, prompt_field + " is empty: there is nothing to go on from", prompt_field, "invalid_value");
    const int64_t wanted = options.max_tokens.value_or(0);
    if (length >= limit || length + wanted > limit) {
      fail_too_long("the " + prompt_field + " has " + std::to_string(length) +
                        (wanted > 0 ? " and max_tokens asks for " + std::to_string(wanted) + " more" : "") +
                        "; shorten one of them",
                    length >= limit ? prompt_field : "max_tokens");
    }
    const int64_t usual = kind == ResponseKind::kText ? kDefaultTextTokens : limit;
    plan.max_tokens.push_back(options.max_tokens.value_or(std::min(usual, limit - length)));
  }
}

void ModelApi::check_tokens(const CompletionOptions& options) const {
  const int64_t vocabulary = model_->generator->vocab_size();
  for (const auto& [id, bias] : options.sampling.logit_bias) {
    if (id >= vocabulary) fail_outside_vocabulary("logit_bias", id, vocabulary);
  }
  for (const int32_t id : options.stop_token_ids) {
    if (id >= vocabulary) fail_outside_vocabulary("stop_token_ids", id, vocabulary);
  }
}

void ModelApi::constrain(GenerationPlan& plan, const OutputFormat& format, int64_t choices) const {
  try {
    for (int64_t i = 0; i < choices; ++i)
      plan.constraints.push_back(model_->generator->constrain(format.kind, format.text));
  } catch (const base::Error& error) {
    const bool missing = error.code() == base::kUnsupported;
    throw ApiError(400, missing ? error.what() : "this grammar cannot be used: " + std::string(error.what()),
                   format.field, missing ? "unsupported_parameter" : "invalid_value");
  }
}

void ModelApi::generate(const std::shared_ptr<Exchange>& exchange, ResponseKind kind, const CompletionOptions& options,
                        GenerationPlan plan, const std::string& prompt_field, Places places) const {
  check_lengths(kind, options, prompt_field, plan);
  check_tokens(options);
  if (options.output_format)
    constrain(plan, *options.output_format, options.best_of * static_cast<int64_t>(plan.prompts.size()));
  const int64_t now_ms = clock_.now_ms();
  plan.options = options;
  plan.adapter = target_.adapter;
  plan.head = {kind,
               base::new_id(kind == ResponseKind::kChat ? "chatcmpl" : "cmpl", now_ms),
               now_ms / 1000,
               name_,
               options.include_usage,
               options.continuous_usage};
  plan.seed = options.seed ? *options.seed : std::hash<std::string>()(base::random_secret(8));
  std::make_shared<Generation>(std::move(plan), exchange, *model_->generator, *model_->tokenizer, metrics_,
                               released_at_end(std::move(places), model_))
      ->start();
}

}  // namespace slipway::serve
