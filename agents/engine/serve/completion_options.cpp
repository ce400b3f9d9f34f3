#include "agents/engine/serve/completion_options.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "agents/engine/serve/api_error.h"

namespace slipway::serve {
namespace {

using nlohmann::ordered_json;

constexpr size_t kMaxStops = 64;
constexpr size_t kMaxStopBytes = 1024;
constexpr size_t kMaxBiases = 1024;

// {"token id": what is added to its logit}.
std::vector<std::pair<int32_t, float>> parse_logit_bias(const JsonFields& fields) {
  const ordered_json* given = fields.find("logit_bias");
  if (given == nullptr) return {};
  const std::string expected =
      "an object of at most " + std::to_string(kMaxBiases) + " token ids, each with a number from -100 to 100";
  if (!given->is_object() || given->size() > kMaxBiases) fields.fail("logit_bias", expected);
  std::vector<std::pair<int32_t, float>> biases;
  for (const auto& [name, value] : given->items()) {
    int32_t id = -1;
    const auto read = std::from_chars(name.data(), name.data() + name.size(), id);
    const bool good = read.ec == std::errc() && read.ptr == name.data() + name.size() && id >= 0;
    if (!good || !value.is_number() || value.get<double>() < -100 || value.get<double>() > 100) {
      throw ApiError(400, "logit_bias must be " + expected + "; one entry is " + shown(name) + ": " + shown(value),
                     "logit_bias", "invalid_value");
    }
    biases.emplace_back(id, value.get<float>());
  }
  return biases;
}

// Fields of OpenAI and vLLM that would change the answer, unless they hold what says "nothing of this".
void refuse_fields_without_effect(const JsonFields& fields) {
  struct Field {
    const char* name;
    ordered_json nothing;
    const char* why;
  };
  static const Field kFields[] = {
      {"use_beam_search", false, "answers are sampled, or greedy at temperature 0"},
      {"bad_words", ordered_json::array(), "logit_bias keeps single tokens out"},
      {"allowed_token_ids", ordered_json::array(), "guided_choice and guided_regex limit what may be said"},
      {"truncate_prompt_tokens", -1, "send the part of the prompt that shall be read"},
      {"prompt_logprobs", nullptr, "/v1/completions with echo and logprobs gives them"},
      {"logits_processors", ordered_json::array(), ""},
      {"modalities", ordered_json::array({"text"}), "models here write text"},
      {"audio", ordered_json::object(), "models here write text"},
      {"functions", ordered_json::array(), "tools takes its place"},
      {"web_search_options", ordered_json::object(), "this server reaches no web"},
  };
  for (const Field& field : kFields) {
    const ordered_json* given = fields.find(field.name);
    if (given != nullptr && *given != field.nothing) refuse_unsupported(field.name, field.why);
  }
}

}  // namespace

void refuse_unsupported(const std::string& name, const std::string& why) {
  throw ApiError(400, name + " is not supported" + (why.empty() ? "" : ": " + why), name, "unsupported_parameter");
}

CompletionOptions parse_options(const JsonFields& fields, int64_t least_tokens) {
  refuse_fields_without_effect(fields);
  CompletionOptions options;
  options.model = fields.text("model").value_or("");
  options.n = fields.integer("n", 1, kMaxChoices).value_or(1);
  options.best_of = options.n;
  options.max_tokens = fields.integer("max_tokens", least_tokens, kMaxTokens);
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
  options.priority = fields.integer("priority", -kMaxPriority, kMaxPriority).value_or(0);
  options.ignore_eos = fields.boolean("ignore_eos").value_or(false);
  options.skip_special_tokens = fields.boolean("skip_special_tokens").value_or(true);
  options.include_stop_str_in_output = fields.boolean("include_stop_str_in_output").value_or(false);
  options.stream = fields.boolean("stream").value_or(false);
  if (const ordered_json* stream_options = fields.find("stream_options")) {
    if (!options.stream)
      throw ApiError(400, "stream_options needs stream to be true", "stream_options", "invalid_value");
    if (!stream_options->is_object()) fields.fail("stream_options", "an object");
    const JsonFields inner(*stream_options, "stream_options.");
    options.include_usage = inner.boolean("include_usage").value_or(false);
    options.continuous_usage = options.include_usage && inner.boolean("continuous_usage_stats").value_or(false);
  }
  runtime::SamplingOptions& sampling = options.sampling;
  sampling.temperature = fields.number("temperature", 0.0, 2.0).value_or(1.0);
  sampling.top_p = fields.number("top_p", 0.0, 1.0).value_or(1.0);
  sampling.top_k = std::max<int64_t>(0, fields.integer("top_k", -1, kMaxTokens).value_or(0));
  sampling.min_p = fields.number("min_p", 0.0, 1.0).value_or(0.0);
  sampling.repetition_penalty = fields.number("repetition_penalty", 0.01, 10.0).value_or(1.0);
  sampling.presence_penalty = fields.number("presence_penalty", -2.0, 2.0).value_or(0.0);
  sampling.frequency_penalty = fields.number("frequency_penalty", -2.0, 2.0).value_or(0.0);
  sampling.logit_bias = parse_logit_bias(fields);
  options.output_format = parse_output_format(fields);
  return options;
}

}  // namespace slipway::serve
