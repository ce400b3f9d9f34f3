// What chat and text completions share in their bodies: length, sampling, stops, streaming. Used by openai_request.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "agents/engine/runtime/engine.h"
#include "agents/engine/serve/json_fields.h"
#include "agents/engine/serve/output_format.h"

namespace slipway::serve {

inline constexpr int64_t kMaxTokens = 1 << 24;
inline constexpr int64_t kMaxChoices = 128;
inline constexpr int64_t kMaxTopLogprobs = 20;
inline constexpr int64_t kMaxPriority = int64_t{1} << 31U;

// What chat and text completions share.
struct CompletionOptions {
  std::string model;  // empty: the base model
  int64_t n = 1;
  int64_t best_of = 1;                // how many are generated for each prompt; the n most likely by token are given
  std::optional<int64_t> max_tokens;  // 0: nothing is generated
  std::optional<uint64_t> seed;
  std::vector<std::string> stop;
  std::vector<int32_t> stop_token_ids;
  int64_t min_tokens = 0;
  bool ignore_eos = false;
  int64_t priority = 0;  // the lowest goes first
  bool skip_special_tokens = true;
  bool include_stop_str_in_output = false;
  bool stream = false;
  bool include_usage = false;
  bool continuous_usage = false;  // in every chunk of the stream
  bool logprobs = false;
  std::optional<OutputFormat> output_format;  // nothing: free text
  runtime::SamplingOptions sampling;
};

// `least_tokens`: the least that max_tokens may be. Throws ApiError 400 that names the field, what was expected, and
// what came.
CompletionOptions parse_options(const JsonFields& fields, int64_t least_tokens);

// What the API knows but this server cannot do is refused rather than ignored: the answer would be wrong.
[[noreturn]] void refuse_unsupported(const std::string& name, const std::string& why);

}  // namespace slipway::serve
