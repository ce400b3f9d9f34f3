#include "agents/engine/serve/generation.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "agents/engine/serve/embeddings.h"
#include "backend/base/error.h"
#include "tests/unit/serve/fakes.h"

namespace slipway::serve {
namespace {

using nlohmann::json;
using runtime::FinishReason;

class GenerationTest : public ::testing::Test {
 protected:
  GenerationTest() {
    plan_.head = {ResponseKind::kChat, "chatcmpl-1", 1700000000, "m"};
    plan_.prompts = {{1, 2, 3}};
    plan_.max_tokens = {50};
  }
  void start() {
    std::make_shared<Generation>(plan_, exchange_, generator_, tokenizer_, metrics_, [this] { ++done_; })->start();
  }
  json answer() const { return json::parse(exchange_->answer.body); }

  GenerationPlan plan_;
  ByteTokenizer tokenizer_;
  FakeGenerator generator_;
  ModelMetrics metrics_;
  std::shared_ptr<FakeExchange> exchange_ = std::make_shared<FakeExchange>();
  int done_ = 0;
};

TEST_F(GenerationTest, AnswersWholeWithUsage) {
  start();
  generator_.say(0, "hello");
  generator_.requests[0].on_finish(FinishReason::kLength, "");
  EXPECT_EQ(answer()["choices"][0]["message"]["content"], "hello");
  EXPECT_EQ(answer()["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(
      answer()["usage"],
      json::parse(
          R"({"prompt_tokens":3,"completion_tokens":5,"total_tokens":8,"prompt_tokens_details":{"cached_tokens":0}})"));
  EXPECT_EQ(answer()["object"], "chat.completion");
  EXPECT_EQ(done_, 1);
  EXPECT_EQ(exchange_->noted.prompt_tokens, 3);
  EXPECT_EQ(exchange_->noted.completion_tokens, 5);
  EXPECT_EQ(exchange_->noted.finish, "length");
  EXPECT_GE(exchange_->noted.first_token_seconds, 0);
}

TEST_F(GenerationTest, SaysHowMuchOfThePromptWasCached) {
  start();
  generator_.requests[0].on_cached(2);
  generator_.say(0, "a");
  generator_.requests[0].on_finish(FinishReason::kLength, "");
  EXPECT_EQ(answer()["usage"]["prompt_tokens_details"]["cached_tokens"], 2);
}

TEST_F(GenerationTest, CountsTimeInTheQueueOnceScheduled) {
  start();
  generator_.requests[0].on_scheduled();
  generator_.say(0, "a");
  generator_.requests[0].on_finish(FinishReason::kLength, "");
  std::string text;
  metrics_.values().queue.write("queue", "", text);
  metrics_.values().n.write("n", "", text);
  EXPECT_NE(text.find("queue_count{} 1\n"), std::string::npos);
  EXPECT_NE(text.find("n_count{} 1\n"), std::string::npos);
}

TEST_F(GenerationTest, ContinuousUsageCountsEachChoiceSoFar) {
  plan_.options.stream = true;
  plan_.head.include_usage = plan_.head.continuous_usage = true;
  start();
  generator_.say(0, "hi");
  generator_.requests[0].on_finish(FinishReason::kLength, "");
  const auto events = exchange_->events();
  EXPECT_EQ(events[1]["usage"]["completion_tokens"], 1);
  EXPECT_EQ(events[2]["usage"]["completion_tokens"], 2);
  EXPECT_EQ(events.back()["usage"]["total_tokens"], 5);
}

TEST_F(GenerationTest, TheMostLikelyByTokenOfBestOfAreGiven) {
  plan_.options.best_of = 3;
  plan_.options.n = 2;
  start();
  ASSERT_EQ(generator_.requests.size(), 3U);
  const std::vector<std::pair<std::string, float>> answers = {{"bad", -3.0F}, {"good", -0.1F}, {"so", -1.0F}};
  for (size_t i = 0; i < answers.size(); ++i) {
    for (const char c : answers[i].first) generator_.requests[i].on_token({c, answers[i].second, {}});
    generator_.requests[i].on_finish(FinishReason::kLength, "");
  }
  ASSERT_EQ(answer()["choices"].size(), 2U);
  EXPECT_EQ(answer()["choices"][0]["message"]["content"], "good");
  EXPECT_EQ(answer()["choices"][1]["message"]["content"], "so");
  EXPECT_EQ(answer()["choices"][1]["index"], 1);
  EXPECT_EQ(answer()["usage"]["completion_tokens"], 9);
  EXPECT_EQ(answer()["usage"]["prompt_tokens"], 3);
}

TEST_F(GenerationTest, NothingIsGeneratedWhereNothingIsWanted) {
  plan_.head.kind = ResponseKind::kText;
  plan_.max_tokens = {0};
  plan_.echo = {"abc"};
  start();
  EXPECT_EQ(generator_.requests[0].max_tokens, 1);
  EXPECT_FALSE(generator_.say(0, "x"));
  EXPECT_EQ(answer()["choices"][0]["text"], "abc");
  EXPECT_EQ(answer()["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(answer()["usage"]["completion_tokens"], 0);
}

TEST_F(GenerationTest, ARequestWhoseTimeHasPassedIsToldSo) {
  start();
  generator_.say(0, "a");
  exchange_->abandon(Abandoned::kTimedOut);
  EXPECT_EQ(exchange_->answer.status, 504);
  EXPECT_EQ(answer()["error"]["code"], "timeout");
  EXPECT_EQ(generator_.cancelled, std::vector<uint64_t>{1});
  EXPECT_EQ(done_, 1);
}

TEST_F(GenerationTest, StreamsRoleTextReasonUsageAndDone) {
  plan_.options.stream = true;
  plan_.head.include_usage = true;
  start();
  EXPECT_EQ(exchange_->answers, 0);
  generator_.say(0, "hi");
  generator_.requests[0].on_finish(FinishReason::kStop, "");
  const auto events = exchange_->events();
  EXPECT_EQ(events[0]["choices"][0]["delta"], json::parse(R"({"role":"assistant","content":""})"));
  EXPECT_TRUE(events[0]["usage"].is_null());
  EXPECT_EQ(exchange_->streamed_text(), "hi");
  EXPECT_EQ(events[events.size() - 2]["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(events.back()["usage"]["completion_tokens"], 3);  // two and the end token
  EXPECT_TRUE(events.back()["choices"].empty());
  EXPECT_EQ(exchange_->stream.back(), kStreamDone);
  EXPECT_TRUE(exchange_->ended);
}

TEST_F(GenerationTest, NeverSplitsACharacterNorLeaksAStopString) {
  plan_.options.stream = true;
  plan_.options.stop = {"STOP"};
  start();
  EXPECT_FALSE(generator_.say(0, "n\xC3\xA4\xF0\x9F\x98\x80ST STOP more"));
  EXPECT_EQ(exchange_->streamed_text(), "n\xC3\xA4\xF0\x9F\x98\x80ST ");
  for (const json& event : exchange_->events()) {
    EXPECT_EQ(event.dump().find("\xEF\xBF\xBD"), std::string::npos);
  }
  EXPECT_EQ(exchange_->events().back()["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(done_, 1);
}

TEST_F(GenerationTest, StopStringsWaitForTheLeastNumberOfTokens) {
  plan_.options.stop = {"x"};
  plan_.options.min_tokens = 3;
  start();
  EXPECT_FALSE(generator_.say(0, "xxaxb"));
  EXPECT_EQ(answer()["choices"][0]["message"]["content"], "xxa");
}

TEST_F(GenerationTest, HeldTextComesOutWhenTheEngineStops) {
  plan_.options.stop = {"ab"};
  start();
  generator_.say(0, "xa");
  generator_.requests[0].on_finish(FinishReason::kStop, "");
  EXPECT_EQ(answer()["choices"][0]["message"]["content"], "xa");
}

TEST_F(GenerationTest, SeveralChoicesHaveTheirOwnSeeds) {
  plan_.options.n = plan_.options.best_of = 2;
  plan_.seed = 7;
  start();
  EXPECT_EQ(generator_.requests[0].sampling.seed, 7U);
  EXPECT_EQ(generator_.requests[1].sampling.seed, 8U);
  generator_.say(1, "b");
  generator_.requests[1].on_finish(FinishReason::kStop, "");
  EXPECT_EQ(exchange_->answers, 0);
  generator_.say(0, "a");
  generator_.requests[0].on_finish(FinishReason::kStop, "");
  EXPECT_EQ(answer()["choices"][0]["message"]["content"], "a");
  EXPECT_EQ(answer()["choices"][1]["message"]["content"], "b");
}

TEST_F(GenerationTest, TheClientsLeavingCancels) {
  plan_.options.stream = true;
  start();
  generator_.say(0, "a");
  exchange_->abandon(Abandoned::kClientLeft);
  EXPECT_EQ(generator_.cancelled, std::vector<uint64_t>{1});
  EXPECT_FALSE(generator_.requests[0].on_token({}));
  generator_.requests[0].on_finish(FinishReason::kCancelled, "");
  EXPECT_EQ(done_, 1);
}

TEST_F(GenerationTest, AnEngineFailureIsAnErrorBeforeAndInsideAStream) {
  start();
  generator_.requests[0].on_finish(FinishReason::kError, "numbers went wrong");
  EXPECT_EQ(exchange_->answer.status, 500);
  exchange_ = std::make_shared<FakeExchange>();
  plan_.options.stream = true;
  start();
  generator_.say(1, "a");
  generator_.requests[1].on_finish(FinishReason::kError, "numbers went wrong");
  EXPECT_TRUE(exchange_->events().back().contains("error"));
  EXPECT_EQ(exchange_->stream.back(), kStreamDone);
  EXPECT_EQ(done_, 2);
}

TEST_F(GenerationTest, ARefusedRequestIsAnswered) {
  generator_.refuse = true;
  start();
  EXPECT_EQ(exchange_->answer.status, 404);
  EXPECT_EQ(done_, 1);
}

TEST_F(GenerationTest, LogprobsHaveBothShapes) {
  plan_.options.logprobs = true;
  start();
  generator_.say(0, "h\xC3\xA4");
  generator_.requests[0].on_finish(FinishReason::kStop, "");
  const json content = answer()["choices"][0]["logprobs"]["content"];
  ASSERT_EQ(content.size(), 3U);
  EXPECT_EQ(content[0]["token"], "h");
  EXPECT_EQ(content[1]["bytes"], json::array({0xC3}));
  EXPECT_EQ(content[0]["top_logprobs"][0]["logprob"], -0.5);
  plan_.head.kind = ResponseKind::kText;
  start();
  generator_.say(1, "h\xC3\xA4x");
  generator_.requests[1].on_finish(FinishReason::kStop, "");
  const json text = answer()["choices"][0]["logprobs"];
  EXPECT_EQ(text["text_offset"], json::parse("[0,1,1,2]"));
  EXPECT_EQ(text["tokens"].size(), 4U);
  EXPECT_EQ(answer()["object"], "text_completion");
}

TEST_F(GenerationTest, AnEchoCanCarryThePromptsLogprobs) {
  plan_.head.kind = ResponseKind::kText;
  plan_.options.logprobs = true;
  plan_.options.sampling.top_logprobs = 1;
  plan_.prompts = {{'a', 'b'}};
  plan_.echo = {"ab"};
  start();
  ASSERT_EQ(generator_.requests[0].prompt_logprobs, 1);
  runtime::GeneratedToken first, second;
  first.id = 'a';
  second.id = 'b';
  second.logprob = -1;
  second.top_logprobs = {{'c', -0.25F}};
  generator_.requests[0].on_prompt({first, second});
  generator_.say(0, "c");
  generator_.requests[0].on_finish(FinishReason::kLength, "");
  const json choice = answer()["choices"][0];
  EXPECT_EQ(choice["text"], "abc");
  EXPECT_EQ(choice["logprobs"]["tokens"], json::parse(R"(["a","b","c"])"));
  EXPECT_EQ(choice["logprobs"]["token_logprobs"], json::parse("[null,-1.0,-0.5]"));
  EXPECT_EQ(choice["logprobs"]["top_logprobs"], json::parse(R"([null,{"c":-0.25,"b":-1.0},{"c":-0.5}])"));
  EXPECT_EQ(choice["logprobs"]["text_offset"], json::parse("[0,1,2]"));
}

TEST_F(GenerationTest, CallsOfToolsComeApartFromTheText) {
  plan_.tool_format = ToolFormat::kHermes;
  const std::string said = "Wait.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>";
  start();
  generator_.say(0, said);
  generator_.requests[0].on_finish(FinishReason::kStop, "");
  const json message = answer()["choices"][0]["message"];
  EXPECT_EQ(message["content"], "Wait.");
  EXPECT_EQ(message["tool_calls"][0]["function"], json::parse(R"({"name":"f","arguments":"{\"a\": 1}"})"));
  EXPECT_EQ(answer()["choices"][0]["finish_reason"], "tool_calls");

  plan_.options.stream = true;
  start();
  generator_.say(1, said.substr(6));
  generator_.requests[1].on_finish(FinishReason::kStop, "");
  std::string arguments;
  for (const json& event : exchange_->events()) {
    for (const json& call : event["choices"][0]["delta"].value("tool_calls", json::array())) {
      arguments += call["function"]["arguments"].get<std::string>();
    }
  }
  EXPECT_EQ(arguments, "{\"a\": 1}");
  EXPECT_EQ(exchange_->streamed_text(), "");
  EXPECT_EQ(exchange_->events().back()["choices"][0]["finish_reason"], "tool_calls");
}

class EmbeddingsTest : public GenerationTest {
 protected:
  void embed(bool base64 = false) {
    std::make_shared<Embeddings>(EmbeddingsPlan{"embd-1", 1700000000, "m", "", {{1, 2}, {3}}, 0, base64}, exchange_,
                                 generator_, [this] { ++done_; })
        ->start();
  }
};

TEST_F(EmbeddingsTest, AreScaledToLengthOneInTheOrderOfTheInputs) {
  embed();
  generator_.embeddings[1].on_finish(FinishReason::kStop, "", {0, 2});
  EXPECT_EQ(exchange_->answers, 0);
  generator_.embeddings[0].on_finish(FinishReason::kStop, "", {3, -4});
  EXPECT_EQ(answer()["data"][0]["index"], 0);
  EXPECT_NEAR(answer()["data"][0]["embedding"][1].get<double>(), -0.8, 1e-6);
  EXPECT_EQ(answer()["data"][1]["embedding"], json::parse("[0.0,1.0]"));
  EXPECT_EQ(answer()["usage"], json::parse(R"({"prompt_tokens":3,"total_tokens":3})"));
  EXPECT_EQ(done_, 1);
}

TEST_F(EmbeddingsTest, ComeAsBase64WhenAskedFor) {
  embed(true);
  generator_.embeddings[0].on_finish(FinishReason::kStop, "", {1, 0});
  generator_.embeddings[1].on_finish(FinishReason::kStop, "", {0, 1});
  EXPECT_EQ(answer()["data"][0]["embedding"], "AACAPwAAAAA=");  // 0000803f 00000000
}

TEST_F(EmbeddingsTest, OneFailureIsTheAnswerAndTheRestIsCancelled) {
  embed();
  generator_.embeddings[0].on_finish(FinishReason::kError, "numbers went wrong", {});
  EXPECT_EQ(exchange_->answer.status, 500);
  generator_.embeddings[1].on_finish(FinishReason::kStop, "", {0, 1});
  EXPECT_EQ(exchange_->answers, 1);
  exchange_ = std::make_shared<FakeExchange>();
  embed();
  exchange_->abandon(Abandoned::kClientLeft);
  EXPECT_EQ(generator_.cancelled, (std::vector<uint64_t>{1003, 1004}));
  EXPECT_EQ(done_, 2);
}

}  // namespace
}  // namespace slipway::serve
