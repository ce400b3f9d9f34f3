// Bodies of the OpenAI API's answers: whole ones, stream chunks and errors. Pure functions.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "agents/engine/serve/api_error.h"
#include "agents/engine/serve/http.h"
#include "agents/engine/serve/tool_parser.h"

namespace slipway::text {
class Tokenizer;
}

namespace slipway::serve {

enum class ResponseKind { kChat, kText };

// What every answer to one request carries.
struct ResponseHead {
  ResponseKind kind = ResponseKind::kChat;
  std::string id;
  int64_t created = 0;  // Unix seconds
  std::string model;
  bool include_usage = false;     // in streams: every chunk says "usage", which is null but in the last
  bool continuous_usage = false;  // likewise, with what was used so far
};

struct LogprobEntry {
  std::string token;  // whole text, broken bytes as U+FFFD
  std::string bytes;
  double logprob = 0;
};

struct TokenLogprobs {
  LogprobEntry chosen;
  bool known = true;  // false: the first token of a prompt, which has no probability
  std::vector<LogprobEntry> top;
  int64_t text_offset = 0;  // characters of the answer before this token
};

struct ChoiceResult {
  int64_t index = 0;
  std::string text;
  std::vector<ToolCallDelta> calls;  // pieces of tool calls, in order
  std::string finish_reason;         // stop, length, tool_calls; empty: not finished
  bool has_logprobs = false;
  std::vector<TokenLogprobs> logprobs;
};

struct Usage {
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  int64_t cached_tokens = 0;  // of the prompt's, those that were found in the prefix cache
};

std::string whole_body(const ResponseHead& head, const std::vector<ChoiceResult>& choices, const Usage& usage);

// "data: {...}\n\n" of one piece of one choice. `first`: names the role (chat). `usage`: of this choice so far.
std::string stream_chunk(const ResponseHead& head, const ChoiceResult& piece, bool first, const Usage& usage);
std::string stream_usage(const ResponseHead& head, const Usage& usage);
std::string stream_error(const ApiError& error);
inline constexpr char kStreamDone[] = "data: [DONE]\n\n";

// {"error": {"message", "type", "param", "code"}} with the status; 429 and 503 carry Retry-After.
HttpResponse error_response(const ApiError& error);
// The time limit for requests has passed.
ApiError time_out_error();

HttpResponse json_response(const nlohmann::ordered_json& body);

}  // namespace slipway::serve
