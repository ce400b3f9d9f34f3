#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "agents/engine/serve/api_error.h"
#include "agents/engine/serve/metrics.h"
#include "agents/engine/serve/openai_request.h"
#include "agents/engine/serve/openai_response.h"

namespace slipway::serve {
namespace {

using nlohmann::json;

ApiError chat_refusal(const std::string& body) {
  try {
    parse_chat_request(body);
  } catch (const ApiError& error) {
    return error;
  }
  return ApiError(0, "accepted");
}

std::string chat_with(const std::string& fields) {
  return R"({"messages":[{"role":"user","content":"hi"}])" + (fields.empty() ? "" : "," + fields) + "}";
}

TEST(ChatRequest, HasOpenAisDefaults) {
  const ChatRequest request = parse_chat_request(chat_with(""));
  EXPECT_EQ(request.options.n, 1);
  EXPECT_EQ(request.options.sampling.temperature, 1.0);
  EXPECT_EQ(request.options.sampling.top_logprobs, -1);
  EXPECT_FALSE(request.options.max_tokens);
  EXPECT_FALSE(request.options.stream);
  EXPECT_TRUE(request.add_generation_prompt);
}

TEST(ChatRequest, TakesEveryField) {
  const ChatRequest request = parse_chat_request(chat_with(
      R"("model":"m","n":2,"max_completion_tokens":7,"max_tokens":9,"temperature":0,"top_p":0.5,"top_k":-1,"min_p":0.1,"seed":-3,"stop":"x",
         "presence_penalty":1,"frequency_penalty":-1,"repetition_penalty":1.1,"ignore_eos":true,"min_tokens":2,"stream":true,
         "stream_options":{"include_usage":true},"logprobs":true,"top_logprobs":3,"user":"u","metadata":{},"response_format":{"type":"text"})"));
  EXPECT_EQ(request.options.max_tokens, 7);
  EXPECT_EQ(request.options.stop, std::vector<std::string>{"x"});
  EXPECT_EQ(request.options.sampling.top_k, 0);
  EXPECT_EQ(request.options.sampling.top_logprobs, 3);
  EXPECT_TRUE(request.options.include_usage);
  EXPECT_TRUE(request.options.ignore_eos);
}

TEST(ChatRequest, NullMeansNotGiven) {
  const ChatRequest request = parse_chat_request(
      chat_with(R"("temperature":null,"stop":null,"max_tokens":null,"tools":null,"stream_options":null)"));
  EXPECT_EQ(request.options.sampling.temperature, 1.0);
}

TEST(ChatRequest, NamesTheFieldAtFault) {
  EXPECT_EQ(chat_refusal(chat_with(R"("temperature":"hot")")).param, "temperature");
  EXPECT_EQ(chat_refusal(chat_with(R"("temperature":2.5)")).param, "temperature");
  EXPECT_EQ(chat_refusal(chat_with(R"("max_tokens":0)")).param, "max_tokens");
  EXPECT_EQ(chat_refusal(chat_with(R"("max_tokens":1e300)")).param, "max_tokens");
  EXPECT_EQ(chat_refusal(chat_with(R"("seed":1.5)")).param, "seed");
  EXPECT_EQ(chat_refusal(chat_with(R"("seed":99999999999999999999)")).param, "seed");
  EXPECT_EQ(chat_refusal(chat_with(R"("stop":[""])")).param, "stop");
  EXPECT_EQ(chat_refusal(chat_with(R"("top_logprobs":2)")).param, "top_logprobs");
  EXPECT_EQ(chat_refusal(chat_with(R"("stream_options":{"include_usage":true})")).param, "stream_options");
  EXPECT_EQ(chat_refusal("{}").param, "messages");
  EXPECT_EQ(chat_refusal(R"({"messages":[]})").param, "messages");
  EXPECT_EQ(chat_refusal(R"({"messages":[{"content":"x"}]})").param, "messages[0].role");
  EXPECT_EQ(chat_refusal(R"({"messages":[{"role":"user","content":[{"type":"image_url"}]}]})").param,
            "messages[0].content");
}

TEST(ChatRequest, RefusesWhatItCannotDoRatherThanIgnoreIt) {
  for (const char* field : {R"("best_of":3)", R"("chat_template":"x")", R"("continue_final_message":true)",
                            R"("use_beam_search":true)", R"("allowed_token_ids":[1])", R"("prompt_logprobs":0)",
                            R"("modalities":["text","audio"])", R"("functions":[{"name":"f"}])"}) {
    const ApiError error = chat_refusal(chat_with(field));
    EXPECT_EQ(error.status, 400) << field;
    EXPECT_EQ(error.code, "unsupported_parameter");
  }
  parse_chat_request(chat_with(
      R"("use_beam_search":false,"bad_words":[],"allowed_token_ids":null,"modalities":["text"],"functions":[])"));
}

TEST(TextRequest, BestOfIsAtLeastNAndNotStreamed) {
  const auto refused = [](const std::string& fields) {
    try {
      parse_text_request(R"({"prompt":"a",)" + fields + "}");
    } catch (const ApiError& error) {
      return error.param;
    }
    return std::string("accepted");
  };
  const TextRequest request = parse_text_request(R"({"prompt":"a","n":2,"best_of":5,"max_tokens":0})");
  EXPECT_EQ(request.options.best_of, 5);
  EXPECT_EQ(request.options.max_tokens, 0);
  EXPECT_EQ(parse_text_request(R"({"prompt":"a","n":2})").options.best_of, 2);
  EXPECT_EQ(refused(R"("n":3,"best_of":2)"), "best_of");
  EXPECT_EQ(refused(R"("best_of":2,"stream":true)"), "best_of");
  EXPECT_EQ(refused(R"("n":2,"best_of":2,"stream":true)"), "accepted");
}

TEST(TextRequest, ContinuousUsageNeedsUsage) {
  const auto continuous = [](const std::string& options) {
    return parse_text_request(R"({"prompt":"a","stream":true,"stream_options":)" + options + "}")
        .options.continuous_usage;
  };
  EXPECT_TRUE(continuous(R"({"include_usage":true,"continuous_usage_stats":true})"));
  EXPECT_FALSE(continuous(R"({"continuous_usage_stats":true})"));
}

TEST(ChatRequest, TheFormOfTheAnswerHasManyNames) {
  using runtime::GrammarKind;
  const auto format = [](const std::string& fields) {
    return *parse_chat_request(chat_with(fields)).options.output_format;
  };
  EXPECT_EQ(format(R"("response_format":{"type":"json_object"})").text, R"({"type":"object"})");
  EXPECT_EQ(
      format(R"("response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"array"}}})").text,
      R"({"type":"array"})");
  EXPECT_EQ(format(R"("guided_json":"{\"type\":\"null\"}")").text, R"({"type":"null"})");
  EXPECT_EQ(format(R"("guided_regex":"a+")").kind, GrammarKind::kRegex);
  EXPECT_EQ(format(R"("guided_choice":["a","b"])").text, "root ::= \"a\" | \"b\"\n");
  EXPECT_EQ(format(R"("structured_outputs":{"grammar":"root ::= \"x\""})").kind, GrammarKind::kEbnf);
  EXPECT_EQ(format(R"("structured_outputs":{"json":{"type":"null"}})").field, "structured_outputs.json");
  EXPECT_FALSE(parse_chat_request(chat_with(R"("response_format":{"type":"text"})")).options.output_format);
  EXPECT_EQ(chat_refusal(chat_with(R"("guided_regex":"a","guided_choice":["a"])")).param, "guided_choice");
  EXPECT_EQ(chat_refusal(chat_with(R"("guided_json":"{")")).param, "guided_json");
  EXPECT_EQ(chat_refusal(chat_with(R"("guided_choice":[])")).param, "guided_choice");
  EXPECT_EQ(chat_refusal(chat_with(R"("response_format":{"type":"yaml"})")).param, "response_format.type");
  EXPECT_EQ(chat_refusal(chat_with(R"("response_format":{"type":"json_schema"})")).param,
            "response_format.json_schema");
}

TEST(ChatRequest, CallsOfEarlierTurnsAreOpenedForTheTemplate) {
  const auto with_call = [](const std::string& call) {
    return R"({"messages":[{"role":"assistant","content":null,"tool_calls":[)" + call + "]}]}";
  };
  const ChatRequest request = parse_chat_request(
      with_call(R"({"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":[1]}"}})"));
  EXPECT_EQ(request.messages[0]["tool_calls"][0]["function"]["arguments"]["a"][0], 1);
  EXPECT_EQ(chat_refusal(with_call(R"({"function":{"name":"f","arguments":"{"}})")).param, "messages[0].tool_calls");
  EXPECT_EQ(chat_refusal(with_call("1")).param, "messages[0].tool_calls");
}

TEST(ChatRequest, LogitBiasIsByTokenId) {
  const ChatRequest request = parse_chat_request(chat_with(R"("logit_bias":{"5":1,"70":-100},"priority":-2)"));
  EXPECT_EQ(request.options.sampling.logit_bias, (std::vector<std::pair<int32_t, float>>{{5, 1.0F}, {70, -100.0F}}));
  EXPECT_EQ(request.options.priority, -2);
  for (const char* bad : {R"("logit_bias":{"x":1})", R"("logit_bias":{"5":101})", R"("logit_bias":{"-1":1})",
                          R"("logit_bias":[5])", R"("logit_bias":{"5":"1"})"}) {
    EXPECT_EQ(chat_refusal(chat_with(bad)).param, "logit_bias") << bad;
  }
}

TEST(EmbeddingsRequest, TakesAllFourFormsOfInput) {
  EXPECT_EQ(parse_embeddings_request(R"({"input":"a"})").inputs.size(), 1U);
  EXPECT_EQ(parse_embeddings_request(R"({"input":["a",[1,2]]})").inputs.size(), 2U);
  EXPECT_TRUE(parse_embeddings_request(R"({"input":"a","encoding_format":"base64"})").base64);
  for (const char* bad :
       {R"({})", R"({"input":[]})", R"({"input":"a","encoding_format":"x"})", R"({"input":"a","dimensions":0})"}) {
    EXPECT_THROW(parse_embeddings_request(bad), ApiError) << bad;
  }
}

TEST(ChatRequest, JoinsTextParts) {
  const ChatRequest request = parse_chat_request(
      R"({"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]})");
  EXPECT_EQ(request.messages[0]["content"], "ab");
}

TEST(ChatRequest, HostileBodiesAreRefused) {
  EXPECT_EQ(chat_refusal("").code, "invalid_json");
  EXPECT_EQ(chat_refusal("{\"messages\":").code, "invalid_json");
  EXPECT_EQ(chat_refusal("[]").code, "invalid_json");
  EXPECT_EQ(chat_refusal("{\"a\":\"\xff\"}").code, "invalid_json");
  EXPECT_EQ(chat_refusal(std::string(100000, '[')).status, 400);
  EXPECT_EQ(chat_refusal("{\"a\":" + std::string(100000, '{')).status, 400);
}

TEST(TextRequest, TakesAllFourFormsOfPrompt) {
  EXPECT_EQ(parse_text_request(R"({"prompt":"a"})").prompts.size(), 1U);
  EXPECT_EQ(parse_text_request(R"({"prompt":["a","b"]})").prompts.size(), 2U);
  EXPECT_EQ(std::get<std::vector<int32_t>>(parse_text_request(R"({"prompt":[1,2]})").prompts[0]),
            (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(parse_text_request(R"({"prompt":[[1],[2]]})").prompts.size(), 2U);
  for (const char* bad : {R"({"prompt":[]})", R"({"prompt":[[-1]]})", R"({"prompt":[1.5]})", R"({"prompt":{}})",
                          R"({})", R"({"prompt":[99999999999]})"}) {
    EXPECT_THROW(parse_text_request(bad), ApiError) << bad;
  }
}

TEST(Responses, ErrorsHaveOpenAisShape) {
  const HttpResponse response = error_response(ApiError(404, "no such model", "model", "model_not_found"));
  EXPECT_EQ(
      json::parse(response.body),
      json::parse(
          R"({"error":{"message":"no such model","type":"invalid_request_error","param":"model","code":"model_not_found"}})"));
  const HttpResponse busy = error_response(ApiError(429, "full"));
  EXPECT_EQ(busy.headers[0], (std::pair<std::string, std::string>{"Retry-After", "1"}));
  EXPECT_TRUE(json::parse(busy.body)["error"]["param"].is_null());
}

TEST(MetricsText, CountsUnderVllmsNames) {
  Metrics metrics({"a\"b", "other"});
  metrics.of(0).first_token(0.03);
  metrics.of(0).finished({"stop", 10, 5, 40, 10, 25});
  metrics.of(0).request_finished(2, 100, 5);
  metrics.http("/v1/models", "GET", 200);
  std::vector<PoolStats> stats(2);
  stats[0].engine.running = 2;
  stats[1].loaded = true;
  const std::string text = metrics.text(stats);
  EXPECT_NE(text.find("slipway:model_loaded{model_name=\"a\\\"b\"} 0\nslipway:model_loaded{model_name=\"other\"} 1\n"),
            std::string::npos);
  EXPECT_EQ(text.find("# TYPE vllm:num_requests_running"), text.rfind("# TYPE vllm:num_requests_running"));
  EXPECT_NE(text.find("vllm:num_requests_running{model_name=\"a\\\"b\"} 2\n"), std::string::npos);
  EXPECT_NE(text.find("vllm:time_to_first_token_seconds_bucket{model_name=\"a\\\"b\",le=\"0.02\"} 0\n"),
            std::string::npos);
  EXPECT_NE(text.find("vllm:time_to_first_token_seconds_bucket{model_name=\"a\\\"b\",le=\"0.04\"} 1\n"),
            std::string::npos);
  EXPECT_NE(text.find("le=\"+Inf\"} 1\n"), std::string::npos);
  const std::pair<const char*, const char*> sums[] = {{"request_queue_time_seconds", "10"},
                                                      {"request_inference_time_seconds", "30"},
                                                      {"request_prefill_time_seconds", "15"},
                                                      {"request_decode_time_seconds", "15"},
                                                      {"e2e_request_latency_seconds", "40"},
                                                      {"request_time_per_output_token_seconds", "3.75"},
                                                      {"request_params_n", "2"},
                                                      {"request_params_max_tokens", "100"},
                                                      {"request_max_num_generation_tokens", "5"}};
  for (const auto& [name, sum] : sums) {
    const std::string line = std::string("vllm:") + name + "_sum{model_name=\"a\\\"b\"} " + sum + "\n";
    EXPECT_NE(text.find(line), std::string::npos) << line;
  }
  EXPECT_NE(text.find("finished_reason=\"stop\"} 1\n"), std::string::npos);
  EXPECT_NE(text.find("http_requests_total{handler=\"/v1/models\",method=\"GET\",status=\"200\"} 1\n"),
            std::string::npos);
}

}  // namespace
}  // namespace slipway::serve
