#include "agents/engine/serve/api.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "agents/engine/serve/api_error.h"
#include "agents/engine/serve/embeddings.h"
#include "agents/engine/serve/generation.h"
#include "agents/engine/serve/routes.h"
#include "agents/engine/spec/engine_main.h"
#include "agents/engine/text/tokenizer.h"
#include "backend/base/error.h"
#include "backend/base/ids.h"

namespace slipway::serve {
namespace {

using nlohmann::ordered_json;

constexpr int64_t kDefaultTextTokens = 16;  // OpenAI's default of max_tokens for /v1/completions

constexpr int64_t kMostBytesPerToken = 256;  // no vocabulary in use has longer tokens in any number

HttpResponse json_response(const ordered_json& body) {
  HttpResponse response;
  response.body = body.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  return response;
}

// Takes the same time wherever the two differ.
bool equal_in_constant_time(const std::string& given, const std::string& expected) {
  unsigned difference = given.size() == expected.size() ? 0 : 1;
  for (size_t i = 0; i < given.size(); ++i) {
    difference |= static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(expected[i % expected.size()]);
  }
  return difference == 0;
}

std::string status_name(const base::Error& error) {
  return error.what() + (error.advice().empty() ? "" : "; " + error.advice());
}

ApiError api_error(const base::Error& error, const std::string& param) {
  if (error.code() == base::kNotFound) return {404, status_name(error), param, "not_found"};
  if (error.code() == base::kOutOfMemory) return {503, status_name(error), param, "out_of_memory"};
  if (error.code() == base::kIo || error.code() == base::kDiskFull) return {500, status_name(error), param};
  return {400, status_name(error), param, "invalid_value"};
}

ordered_json model_json(const ModelList::Entry& entry, const std::string& base_name, int64_t max_model_len) {
  return {{"id", entry.name},
          {"object", "model"},
          {"created", entry.created},
          {"owned_by", "slipway"},
          {"root", base_name},
          {"parent", entry.parent.empty() ? ordered_json() : ordered_json(entry.parent)},
          {"max_model_len", max_model_len}};
}

}  // namespace

Api::Api(ApiOptions options, ModelList& models, Generator& generator, const text::Tokenizer& tokenizer,
         Metrics& metrics, const base::Clock& clock)
    : options_(std::move(options)),
      models_(models),
      generator_(generator),
      tokenizer_(tokenizer),
      metrics_(metrics),
      clock_(clock),
      chat_prompt_(tokenizer),
      in_flight_(std::make_shared<std::atomic<int64_t>>(0)) {}

Api::~Api() = default;

void Api::handle(const std::shared_ptr<Exchange>& exchange) {
  const HttpRequest& request = exchange->request();
  try {
    if (const std::string allowed = check_route(request); !allowed.empty()) {
      HttpResponse response = error_response(ApiError(405, request.path + " takes " + allowed + " only"));
      response.headers.emplace_back("Allow", allowed);
      exchange->respond(std::move(response));
      return;
    }
    check_key(request);
    check_content_type(request);
    if (request.path == "/v1/chat/completions") {
      chat(exchange);
    } else if (request.path == "/v1/completions") {
      text(exchange);
    } else if (request.path == "/v1/embeddings") {
      embeddings(exchange);
    } else {
      exchange->respond(answer(request));
    }
  } catch (const ApiError& error) {
    exchange->respond(error_response(error));
  } catch (const base::Error& error) {
    exchange->respond(error_response(api_error(error, "")));
  } catch (const std::bad_alloc&) {
    exchange->respond(error_response(ApiError(503, "there was not enough memory for this request")));
  } catch (const std::exception& error) {
    spdlog::error("request failed path={} error=\"{}\"", request.path, error.what());
    exchange->respond(error_response(ApiError(500, "the server failed on this request; its log says why")));
  }
}

void Api::check_key(const HttpRequest& request) const {
  const bool open =
      request.path == "/health" || request.path == "/ping" || request.path == "/version" || request.path == "/metrics";
  if (options_.api_key.empty() || open) return;
  const std::string given = request.header("authorization");
  if (given.size() > 7 && (given.starts_with("Bearer ") || given.starts_with("bearer ")) &&
      equal_in_constant_time(given.substr(7), options_.api_key))
    return;
  throw ApiError(401,
                 given.empty() ? "this server wants an API key: Authorization: Bearer KEY" : "the API key is wrong", "",
                 "invalid_api_key");
}

HttpResponse Api::answer(const HttpRequest& request) {
  if (request.path == "/health" || request.path == "/ping") return {200, "text/plain", ""};
  if (request.path == "/version") return json_response({{"version", spec::version()}});
  if (request.path == "/metrics")
    return {200, "text/plain; version=0.0.4; charset=utf-8", metrics_.text(generator_.stats())};
  if (request.path == "/v1/models") return list_models();
  if (request.path.starts_with(kModelPrefix))
    return show_model(decode_percent(request.path.substr(sizeof kModelPrefix - 1)));
  if (request.path == "/tokenize") return tokenize(request);
  if (request.path == "/detokenize") return detokenize(request);
  return request.path == "/v1/load_lora_adapter" ? load_adapter(request) : unload_adapter(request);
}

HttpResponse Api::list_models() const {
  ordered_json data = ordered_json::array();
  for (const ModelList::Entry& entry : models_.entries())
    data.push_back(model_json(entry, models_.base_name(), generator_.max_model_len()));
  return json_response({{"object", "list"}, {"data", data}});
}

HttpResponse Api::show_model(const std::string& name) const {
  models_.adapter_of(name);
  for (const ModelList::Entry& entry : models_.entries()) {
    if (entry.name == name) return json_response(model_json(entry, models_.base_name(), generator_.max_model_len()));
  }
  throw ApiError(404, "the model was unloaded this moment", "model", "model_not_found");
}

HttpResponse Api::load_adapter(const HttpRequest& request) {
  const AdapterRequest wanted = parse_load_adapter_request(request.body);
  if (!options_.runtime_adapters)
    throw ApiError(403, "this server does not let clients load adapters (runtime_adapters is false)");
  try {
    models_.load(wanted.name, options_.adapter_root / wanted.path);
  } catch (const base::Error& error) {
    throw api_error(error,
                    error.code() == "ALREADY_EXISTS" || error.code() == "INVALID_NAME" ? "lora_name" : "lora_path");
  }
  spdlog::info("adapter loaded name={}", wanted.name);
  return {200, "text/plain; charset=utf-8", "Success: LoRA adapter '" + wanted.name + "' added successfully."};
}

HttpResponse Api::unload_adapter(const HttpRequest& request) {
  const AdapterRequest wanted = parse_unload_adapter_request(request.body);
  if (!options_.runtime_adapters)
    throw ApiError(403, "this server does not let clients unload adapters (runtime_adapters is false)");
  try {
    models_.unload(wanted.name);
  } catch (const base::Error& error) {
    throw api_error(error, "lora_name");
  }
  spdlog::info("adapter unloaded name={}", wanted.name);
  return {200, "text/plain; charset=utf-8", "Success: LoRA adapter '" + wanted.name + "' removed successfully."};
}

HttpResponse Api::tokenize(const HttpRequest& request) const {
  const TokenizeRequest wanted = parse_tokenize_request(request.body);
  models_.adapter_of(wanted.model);
  const bool chat = std::holds_alternative<ChatRequest>(wanted.prompt);
  const std::string text =
      chat ? chat_prompt_.render(std::get<ChatRequest>(wanted.prompt)) : std::get<std::string>(wanted.prompt);
  const std::vector<int32_t> tokens = tokenizer_.encode(text, wanted.add_special_tokens);
  ordered_json body = {{"count", tokens.size()}, {"max_model_len", generator_.max_model_len()}, {"tokens", tokens}};
  if (wanted.return_token_strs) {
    body["token_strs"] = ordered_json::array();
    for (const int32_t token : tokens) body["token_strs"].push_back(tokenizer_.id_to_token(token));
  }
  return json_response(body);
}

HttpResponse Api::detokenize(const HttpRequest& request) const {
  const DetokenizeRequest wanted = parse_detokenize_request(request.body);
  models_.adapter_of(wanted.model);
  for (const int32_t token : wanted.tokens) {
    if (token >= tokenizer_.vocab_size()) {
      throw ApiError(400,
                     "tokens holds " + std::to_string(token) + "; the vocabulary ends at " +
                         std::to_string(tokenizer_.vocab_size() - 1),
                     "tokens", "invalid_value");
    }
  }
  return json_response({{"prompt", tokenizer_.decode(wanted.tokens, false)}});
}

std::vector<int32_t> Api::encode(const std::string& text, bool add_special, const std::string& field) const {
  // Far too long is said before the work of tokenising, not after.
  const int64_t limit = generator_.max_model_len();
  if (static_cast<int64_t>(text.size()) > limit * kMostBytesPerToken) {
    throw ApiError(400,
                   "this model's context holds " + std::to_string(limit) + " tokens; the " + field + " has " +
                       std::to_string(text.size()) + " bytes; shorten it",
                   field, "context_length_exceeded");
  }
  return tokenizer_.encode(text, add_special);
}

void Api::chat(const std::shared_ptr<Exchange>& exchange) {
  const ChatRequest request = parse_chat_request(exchange->request().body);
  models_.adapter_of(request.options.model);  // an unknown model is said before anything else is looked at
  // The template writes the special tokens itself.
  GenerationPlan plan;
  plan.prompts = {encode(chat_prompt_.render(request), false, "messages")};
  CompletionOptions options = request.options;
  if (request.tools.active()) {
    plan.tool_format = chat_prompt_.tool_format();
    plan.named_tool = request.tools.choice == ToolChoice::kNamed;
    options.output_format = tool_grammar(request.tools, *plan.tool_format, options.output_format);
  }
  generate(exchange, ResponseKind::kChat, options, std::move(plan), "messages");
}

void Api::text(const std::shared_ptr<Exchange>& exchange) {
  const TextRequest request = parse_text_request(exchange->request().body);
  models_.adapter_of(request.options.model);
  GenerationPlan plan;
  for (const Prompt& prompt : request.prompts) {
    plan.prompts.push_back(prompt_tokens(prompt, request.add_special_tokens, "prompt"));
    if (!request.echo) continue;
    const auto* text = std::get_if<std::string>(&prompt);
    plan.echo.push_back(text != nullptr ? *text : tokenizer_.decode(plan.prompts.back(), true));
  }
  generate(exchange, ResponseKind::kText, request.options, std::move(plan), "prompt");
}

void Api::constrain(GenerationPlan& plan, const OutputFormat& format, int64_t choices) const {
  try {
    for (int64_t i = 0; i < choices; ++i) plan.constraints.push_back(generator_.constrain(format.kind, format.text));
  } catch (const base::Error& error) {
    const bool missing = error.code() == base::kUnsupported;
    throw ApiError(400, missing ? error.what() : "this grammar cannot be used: " + std::string(error.what()),
                   format.field, missing ? "unsupported_parameter" : "invalid_value");
  }
}

std::vector<int32_t> Api::prompt_tokens(const Prompt& prompt, bool add_special, const std::string& field) const {
  if (const auto* text = std::get_if<std::string>(&prompt)) return encode(*text, add_special, field);
  const auto& ids = std::get<std::vector<int32_t>>(prompt);
  const int64_t limit = std::min<int64_t>(tokenizer_.vocab_size(), generator_.vocab_size());
  for (const int32_t id : ids) {
    if (id < limit) continue;
    throw ApiError(
        400, field + " holds token " + std::to_string(id) + "; the vocabulary ends at " + std::to_string(limit - 1),
        field, "invalid_value");
  }
  return ids;
}

void Api::embeddings(const std::shared_ptr<Exchange>& exchange) {
  const EmbeddingsRequest request = parse_embeddings_request(exchange->request().body);
  EmbeddingsPlan plan;
  plan.adapter = models_.adapter_of(request.model);
  plan.model = request.model.empty() ? models_.base_name() : request.model;
  if (request.dimensions && *request.dimensions != generator_.hidden_size()) {
    throw ApiError(400,
                   "dimensions is " + std::to_string(*request.dimensions) + "; this model's embeddings have " +
                       std::to_string(generator_.hidden_size()) + " and cannot be cut",
                   "dimensions", "invalid_value");
  }
  const int64_t limit = generator_.max_model_len();
  for (const Prompt& input : request.inputs) {
    plan.inputs.push_back(prompt_tokens(input, true, "input"));
    const auto length = static_cast<int64_t>(plan.inputs.back().size());
    if (length == 0) throw ApiError(400, "input holds an empty text", "input", "invalid_value");
    if (length > limit) {
      throw ApiError(400,
                     "this model's context holds " + std::to_string(limit) + " tokens; an input has " +
                         std::to_string(length) + "; shorten it",
                     "input", "context_length_exceeded");
    }
  }
  plan.priority = request.priority;
  plan.base64 = request.base64;
  const int64_t now_ms = clock_.now_ms();
  plan.id = base::new_id("embd", now_ms);
  plan.created = now_ms / 1000;
  auto release = take_places(static_cast<int64_t>(plan.inputs.size()));
  std::make_shared<Embeddings>(std::move(plan), exchange, generator_, std::move(release))->start();
}

std::function<void()> Api::take_places(int64_t choices) {
  if (in_flight_->fetch_add(choices) + choices > options_.max_in_flight) {
    *in_flight_ -= choices;
    throw ApiError(429,
                   "the queue is full (" + std::to_string(options_.max_in_flight) + " requests); try again in a moment",
                   "", "queue_full");
  }
  return [in_flight = in_flight_, choices] { *in_flight -= choices; };
}

void Api::generate(const std::shared_ptr<Exchange>& exchange, ResponseKind kind, const CompletionOptions& options,
                   GenerationPlan plan, const std::string& prompt_field) {
  plan.adapter = models_.adapter_of(options.model);
  const int64_t limit = generator_.max_model_len();
  for (const auto& prompt : plan.prompts) {
    const auto length = static_cast<int64_t>(prompt.size());
    if (length == 0)
      throw ApiError(400, prompt_field + " is empty: there is nothing to go on from", prompt_field, "invalid_value");
    const int64_t wanted = options.max_tokens.value_or(0);
    if (length >= limit || length + wanted > limit) {
      throw ApiError(400,
                     "this model's context holds " + std::to_string(limit) + " tokens; the " + prompt_field + " has " +
                         std::to_string(length) +
                         (wanted > 0 ? " and max_tokens asks for " + std::to_string(wanted) + " more" : "") +
                         "; shorten one of them",
                     length >= limit ? prompt_field : "max_tokens", "context_length_exceeded");
    }
    const int64_t usual = kind == ResponseKind::kText ? kDefaultTextTokens : limit;
    plan.max_tokens.push_back(options.max_tokens.value_or(std::min(usual, limit - length)));
  }
  for (const auto& [id, bias] : options.sampling.logit_bias) {
    if (id >= generator_.vocab_size())
      throw ApiError(400, "logit_bias holds " + std::to_string(id) + ", which is outside the vocabulary", "logit_bias",
                     "invalid_value");
  }
  for (const int32_t id : options.stop_token_ids) {
    if (id >= generator_.vocab_size())
      throw ApiError(400, "stop_token_ids holds " + std::to_string(id) + ", which is outside the vocabulary",
                     "stop_token_ids", "invalid_value");
  }

  const int64_t choices = options.n * static_cast<int64_t>(plan.prompts.size());
  if (options.output_format) constrain(plan, *options.output_format, choices);
  const auto release = take_places(choices);
  plan.options = options;
  const int64_t now_ms = clock_.now_ms();
  plan.head = {kind, base::new_id(kind == ResponseKind::kChat ? "chatcmpl" : "cmpl", now_ms), now_ms / 1000,
               options.model.empty() ? models_.base_name() : options.model, options.include_usage};
  if (options.seed) {
    plan.seed = *options.seed;
  } else {
    const std::string random = base::random_secret(8);
    plan.seed = std::hash<std::string>()(random);
  }
  std::shared_ptr<Generation> generation;
  try {
    generation = std::make_shared<Generation>(std::move(plan), exchange, generator_, tokenizer_, metrics_, release);
  } catch (...) {
    release();
    throw;
  }
  generation->start();
}

}  // namespace slipway::serve
