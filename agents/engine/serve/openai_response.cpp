#include "agents/engine/serve/openai_response.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace slipway::serve {
namespace {

using nlohmann::ordered_json;

std::string dumped(const ordered_json& value) {
  return value.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

// JSON knows no infinity; vLLM says -9999 too.
double finite(double logprob) { return std::max(logprob, -9999.0); }

ordered_json entry_json(const LogprobEntry& entry) {
  ordered_json bytes = ordered_json::array();
  for (const char c : entry.bytes) bytes.push_back(static_cast<unsigned char>(c));
  return {{"token", entry.token}, {"logprob", finite(entry.logprob)}, {"bytes", bytes}};
}

ordered_json chat_logprobs(const std::vector<TokenLogprobs>& tokens) {
  ordered_json content = ordered_json::array();
  for (const TokenLogprobs& token : tokens) {
    ordered_json entry = entry_json(token.chosen);
    ordered_json top = ordered_json::array();
    for (const LogprobEntry& other : token.top) top.push_back(entry_json(other));
    entry["top_logprobs"] = top;
    content.push_back(std::move(entry));
  }
  return {{"content", content}, {"refusal", nullptr}};
}

ordered_json text_logprobs(const std::vector<TokenLogprobs>& tokens) {
  ordered_json names = ordered_json::array(), values = ordered_json::array(), tops = ordered_json::array(),
               offsets = ordered_json::array();
  for (const TokenLogprobs& token : tokens) {
    names.push_back(token.chosen.token);
    values.push_back(token.known ? ordered_json(finite(token.chosen.logprob)) : ordered_json());
    ordered_json top = ordered_json::object();
    for (const LogprobEntry& other : token.top) top[other.token] = finite(other.logprob);
    // The chosen token belongs to them, as in OpenAI's answers, also where it is not among the best.
    if (token.known && !token.top.empty() && !top.contains(token.chosen.token)) {
      top[token.chosen.token] = finite(token.chosen.logprob);
    }
    tops.push_back(token.top.empty() || !token.known ? ordered_json() : top);
    offsets.push_back(token.text_offset);
  }
  return {{"tokens", names}, {"token_logprobs", values}, {"top_logprobs", tops}, {"text_offset", offsets}};
}

ordered_json call_json(const ToolCallDelta& call) {
  ordered_json json = {{"index", call.index}};
  if (!call.id.empty()) {
    json["id"] = call.id;
    json["type"] = "function";
    json["function"]["name"] = call.name;
  }
  json["function"]["arguments"] = call.arguments;
  return json;
}

// Pieces put together.
ordered_json whole_calls(const std::vector<ToolCallDelta>& pieces) {
  std::vector<ToolCallDelta> calls;
  for (const ToolCallDelta& piece : pieces) {
    if (!piece.id.empty()) {
      calls.push_back(piece);
    } else if (!calls.empty()) {
      calls.back().arguments += piece.arguments;
    }
  }
  ordered_json json = ordered_json::array();
  for (const ToolCallDelta& call : calls) {
    json.push_back(
        {{"id", call.id}, {"type", "function"}, {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
  }
  return json;
}

ordered_json logprobs_json(const ResponseHead& head, const ChoiceResult& choice) {
  if (!choice.has_logprobs) return nullptr;
  return head.kind == ResponseKind::kChat ? chat_logprobs(choice.logprobs) : text_logprobs(choice.logprobs);
}

ordered_json reason_json(const ChoiceResult& choice) {
  return choice.finish_reason.empty() ? ordered_json() : ordered_json(choice.finish_reason);
}

ordered_json head_json(const ResponseHead& head, bool stream) {
  const char* object = head.kind == ResponseKind::kText ? "text_completion"
                       : stream                         ? "chat.completion.chunk"
                                                        : "chat.completion";
  return {{"id", head.id}, {"object", object}, {"created", head.created}, {"model", head.model}};
}

ordered_json usage_json(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}}};
}

std::string event(const ordered_json& data) { return "data: " + dumped(data) + "\n\n"; }

ordered_json error_json(const ApiError& error) {
  const char* type = error.status == 401   ? "authentication_error"
                     : error.status == 429 ? "rate_limit_error"
                     : error.status >= 500 ? "server_error"
                                           : "invalid_request_error";
  return {{"error",
           {{"message", error.what()},
            {"type", type},
            {"param", error.param.empty() ? ordered_json() : ordered_json(error.param)},
            {"code", error.code.empty() ? ordered_json() : ordered_json(error.code)}}}};
}

}  // namespace

std::string whole_body(const ResponseHead& head, const std::vector<ChoiceResult>& choices, const Usage& usage) {
  ordered_json body = head_json(head, false);
  body["choices"] = ordered_json::array();
  for (const ChoiceResult& choice : choices) {
    ordered_json entry = {{"index", choice.index}};
    if (head.kind == ResponseKind::kChat) {
      entry["message"] = {{"role", "assistant"}, {"content", choice.text}, {"refusal", nullptr}};
      if (!choice.calls.empty()) {
        entry["message"]["tool_calls"] = whole_calls(choice.calls);
        if (choice.text.empty()) entry["message"]["content"] = nullptr;
      }
    } else {
      entry["text"] = choice.text;
    }
    entry["logprobs"] = logprobs_json(head, choice);
    entry["finish_reason"] = reason_json(choice);
    body["choices"].push_back(std::move(entry));
  }
  body["usage"] = usage_json(usage);
  return dumped(body);
}

std::string stream_chunk(const ResponseHead& head, const ChoiceResult& piece, bool first, const Usage& usage) {
  ordered_json body = head_json(head, true);
  ordered_json entry = {{"index", piece.index}};
  if (head.kind == ResponseKind::kChat) {
    ordered_json delta = ordered_json::object();
    if (first) delta["role"] = "assistant";
    if (first || !piece.text.empty()) delta["content"] = piece.text;
    for (const ToolCallDelta& call : piece.calls) delta["tool_calls"].push_back(call_json(call));
    entry["delta"] = delta;
  } else {
    entry["text"] = piece.text;
  }
  entry["logprobs"] = logprobs_json(head, piece);
  entry["finish_reason"] = reason_json(piece);
  body["choices"] = ordered_json::array({entry});
  if (head.include_usage) body["usage"] = head.continuous_usage ? usage_json(usage) : ordered_json();
  return event(body);
}

std::string stream_usage(const ResponseHead& head, const Usage& usage) {
  ordered_json body = head_json(head, true);
  body["choices"] = ordered_json::array();
  body["usage"] = usage_json(usage);
  return event(body);
}

std::string stream_error(const ApiError& error) { return event(error_json(error)); }

HttpResponse error_response(const ApiError& error) {
  HttpResponse response;
  response.status = error.status;
  response.body = dumped(error_json(error));
  if (error.status == 429 || error.status == 503) response.headers.emplace_back("Retry-After", "1");
  if (error.status == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  return response;
}

ApiError time_out_error() {
  return {504, "the answer took longer than this server allows a request; ask for fewer tokens", "", "timeout"};
}

HttpResponse json_response(const ordered_json& body) {
  HttpResponse response;
  response.body = dumped(body);
  return response;
}

}  // namespace slipway::serve
