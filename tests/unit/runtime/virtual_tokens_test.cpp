// Prompt tuning's adapters in the engine. One whose virtual tokens are the embeddings of words must do what the words
// do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "agents/engine/model/prompt_adapter.h"
#include "backend/base/error.h"
#include "backend/base/files.h"
#include "tests/unit/runtime/requests.h"
#include "tests/unit/runtime/tiny_model.h"

namespace slipway::runtime {
namespace {

using testing::HasSubstr;

constexpr int64_t kWidth = 48;
const std::vector<int32_t> kWords = {9, 40, 77, 12, 101};

// Task 2's factors are 1; those of the others are not.
void add_tasks(model::PromptAdapter& adapter) {
  adapter.tasks = 3;
  adapter.ranks = 2;
  adapter.task_columns = random_values(static_cast<size_t>(3 * adapter.virtual_tokens * 2), 1.0F, 11);
  adapter.task_rows = random_values(static_cast<size_t>(3 * 2 * kWidth), 1.0F, 12);
  for (int64_t token = 0; token < adapter.virtual_tokens; ++token) {
    float* column = adapter.task_columns.data() + (2 * adapter.virtual_tokens + token) * 2;
    column[0] = 1;
    column[1] = 0;
  }
  std::fill_n(adapter.task_rows.begin() + 2 * 2 * kWidth, kWidth, 1.0F);
}

std::vector<int32_t> with_words(const std::vector<int32_t>& prompt) {
  std::vector<int32_t> tokens = kWords;
  tokens.insert(tokens.end(), prompt.begin(), prompt.end());
  return tokens;
}

class VirtualTokensTest : public testing::Test {
 protected:
  VirtualTokensTest() {
    write_tiny_model(path("model"));
    write_tiny_adapter(path("lora"), 1);
    model::PromptAdapter words;
    words.virtual_tokens = static_cast<int64_t>(kWords.size());
    words.width = kWidth;
    const auto weights = model::open_weights(path("model"));
    for (const int32_t word : kWords) {
      std::vector<float> row(kWidth);
      weights->read_rows_f32("model.embed_tokens.weight", word, row);
      words.embeddings.insert(words.embeddings.end(), row.begin(), row.end());
    }
    model::save_prompt_adapter(path("words"), words);
    add_tasks(words);
    model::save_prompt_adapter(path("tasks"), words);
    write_tiny_prompt(path("long"), 20, 5);  // more than a page of the cache
  }
  std::filesystem::path path(const std::string& name) const { return folder_.path() / name; }

  std::unique_ptr<Engine> engine(EngineOptions options = {}) const {
    if (options.threads == 0) options.threads = 2;
    auto made = std::make_unique<Engine>(path("model"), options);
    for (const char* name : {"lora", "words", "long", "tasks"}) made->load_adapter(name, path(name));
    made->load_adapter("task 2", path("tasks"), 2);
    return made;
  }
  // Some of everything.
  static std::vector<GenerationRequest> mixed() {
    std::vector<GenerationRequest> requests;
    const char* names[] = {"", "words", "long", "lora", "tasks", "task 2"};
    for (int i = 0; i < 18; ++i) {
      requests.push_back(request_of(i));
      requests.back().adapter = names[i % 6];
      if (i % 4 == 1) requests.back().sampling.repetition_penalty = 1.3;
    }
    return requests;
  }
  std::string failure(const std::string& name, int64_t task = 0) const {
    try {
      engine()->load_adapter("new", path(name), task);
      return "";
    } catch (const base::Error& error) {
      return error.code() + " " + error.what();
    }
  }
  base::TemporaryFolder folder_;
};

std::vector<float> state_of(Engine& engine, const std::vector<int32_t>& prompt, const std::string& adapter) {
  std::promise<std::vector<float>> done;
  EmbeddingRequest request;
  request.prompt = prompt;
  request.adapter = adapter;
  request.on_finish = [&](FinishReason, const std::string&, std::vector<float> state) { done.set_value(state); };
  engine.submit(std::move(request));
  return done.get_future().get();
}

TEST_F(VirtualTokensTest, WordsAsVirtualTokensDoWhatTheWordsDo) {
  const auto one = engine();
  auto request = request_of(0, 33);
  request.sampling.temperature = 0;
  const std::vector<int32_t> prompt = request.prompt, longer = with_words(prompt);
  const auto of_words = one->logits(longer, "", true);
  const auto scores = one->score(longer, ""), tail = std::vector(scores.begin() + 5, scores.end());
  for (const char* name : {"words", "task 2"}) {
    EXPECT_EQ(one->virtual_tokens(name), 5);
    EXPECT_EQ(one->logits(prompt, name, true), std::vector(of_words.begin() + 5 * 131, of_words.end()));
    EXPECT_EQ(one->score(prompt, name), tail);
    EXPECT_EQ(state_of(*one, prompt, name), state_of(*one, longer, ""));
    request.prompt = longer;
    request.adapter = "";
    const Outcome expected = start(*one, request).get();
    request.prompt = prompt;
    request.adapter = name;
    EXPECT_EQ(start(*one, request).get(), expected);
  }
  EXPECT_NE(one->logits(prompt, "tasks", false), one->logits(prompt, "task 2", false));
  EXPECT_EQ(one->virtual_tokens("lora") + one->virtual_tokens(""), 0);
}

TEST_F(VirtualTokensTest, ARequestGivesTheSameBitsAloneAndInABatch) {
  for (const auto& [type, cache] :
       {std::pair{WeightType::kF32, CacheType::kAuto}, std::pair{WeightType::kInt4, CacheType::kInt8}}) {
    EngineOptions options;
    options.weight_type = type;
    options.cache_type = cache;
    options.prefix_caching = false;
    std::vector<Outcome> alone;
    const auto requests = mixed();
    const auto one = engine(options);
    for (const auto& request : requests) alone.push_back(start(*one, request).get());
    EXPECT_EQ(all_at_once(*one, requests), alone);
    // With shared beginnings, guesses, chunks and a cache too small for all; the last with one adapter in memory.
    options.prefix_caching = true;
    options.speculative_tokens = 4;
    options.prompt_tokens_beside = 3;
    options.kv_cache_tokens = 256;
    const auto crowded = engine(options);
    EXPECT_EQ(all_at_once(*crowded, requests), alone);
    EXPECT_EQ(all_at_once(*crowded, requests), alone);
    options.adapters_in_memory = 1;
    EXPECT_EQ(all_at_once(*engine(options), requests), alone);
  }
}

TEST_F(VirtualTokensTest, TheirPagesAreSharedAndNotCounted) {
  const auto one = engine();
  std::vector<int64_t> cached;
  const auto ask = [&](int number) {
    auto request = request_of(number, 20);
    request.adapter = "long";
    request.max_tokens = 1;
    request.on_cached = [&](int64_t tokens) { cached.push_back(tokens); };
    start(*one, request).get();
  };
  ask(1);
  ask(2);  // another text: the first page holds virtual tokens alone
  EXPECT_EQ(one->stats().prefix_hits, 16);
  ask(2);
  EXPECT_EQ(one->stats().prefix_hits, 48);
  EXPECT_THAT(cached, testing::ElementsAre(0, 0, 12));
  EXPECT_EQ(one->stats().prompt_tokens, 48);  // computed: all of two, and of the third what was not there
}

TEST_F(VirtualTokensTest, LogprobsAreOfThePromptAlone) {
  const auto one = engine();
  auto request = request_of(4, 30);
  request.adapter = "long";
  request.prompt_logprobs = 1;
  std::vector<GeneratedToken> given;
  request.on_prompt = [&](const std::vector<GeneratedToken>& tokens) { given = tokens; };
  const auto scores = one->score(request.prompt, "long");
  for (int round = 0; round < 2; ++round) {  // the cache holds it the second time
    start(*one, request).get();
    ASSERT_EQ(given.size(), 30U);
    EXPECT_EQ(given[0].id, request.prompt[0]);
    EXPECT_THAT(given[0].top_logprobs, testing::IsEmpty());
    for (size_t i = 1; i < given.size(); ++i) {
      EXPECT_EQ(given[i].id, request.prompt[i]);
      EXPECT_EQ(given[i].logprob, scores[i - 1]);
    }
  }
}

TEST_F(VirtualTokensTest, TheyTakePartOfTheLength) {
  const auto one = engine();
  auto request = request_of(3, 250);
  request.adapter = "words";
  request.max_tokens = 0;
  EXPECT_EQ(start(*one, request).get().tokens.size(), 1U);
  EXPECT_EQ(one->score(request_of(3, 251).prompt, "words").size(), 250U);
  request.prompt.push_back(3);
  try {
    one->submit(request);
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("251 tokens, this model takes at most 250 of its 256; the adapter's virtual"));
  }
}

TEST_F(VirtualTokensTest, WhatDoesNotFitIsNamed) {
  EXPECT_THAT(failure("tasks", 3), HasSubstr("INVALID_SPEC"));
  EXPECT_THAT(failure("tasks", 3), HasSubstr("tasks: task_id is 3, the adapter has the tasks 0 to 2"));
  EXPECT_THAT(failure("words", 1), HasSubstr("task_id is 1, the adapter has no tasks"));
  EXPECT_THAT(failure("lora", 1), HasSubstr("task_id is 1, the adapter has no tasks"));
  write_tiny_prompt(path("full"), 255, 6);
  EXPECT_THAT(failure("full"), HasSubstr("full has 255 virtual tokens; sequences of this model have at most 256"));
  write_tiny_prompt(path("narrow"), 2, 7, 47);
  EXPECT_THAT(failure("narrow"), HasSubstr("tensor prompt_embeddings is 2 × 47, the base model's hidden size is 48"));
}

TEST_F(VirtualTokensTest, FilesThatContradictThemselvesAreNamed) {
  const auto config = nlohmann::json::parse(base::read_file(path("tasks") / "adapter_config.json"));
  const auto with = [&](const char* key, const nlohmann::json& value) {
    nlohmann::json changed = config;
    changed[key] = value;
    std::ofstream(path("tasks") / "adapter_config.json") << changed;
    return failure("tasks");
  };
  const std::string file = "INVALID_MODEL " + path("tasks").string() + "/adapter_";
  EXPECT_EQ(with("num_virtual_tokens", 5), "");
  EXPECT_EQ(with("num_virtual_tokens", 6), file +
                                               "model.safetensors: tensor prompt_embeddings is 5 × 48, "
                                               "adapter_config.json says 6 × 48");
  EXPECT_EQ(with("token_dim", 47), file +
                                       "model.safetensors: tensor prompt_embeddings is 5 × 48, "
                                       "adapter_config.json says 5 × 47");
  EXPECT_EQ(with("num_tasks", 2), file +
                                      "model.safetensors: tensor prefix_task_cols is 3 × 5 × 2, "
                                      "adapter_config.json says 2 × 5 × 2");
  EXPECT_EQ(with("num_ranks", nullptr), file + "config.json: num_ranks is not a whole number above 0");
  // What is multitask must have the tensors of tasks, and what is not must not.
  EXPECT_THAT(with("peft_type", "PROMPT_TUNING"), HasSubstr("prefix_task_cols"));
  std::filesystem::copy_file(path("words") / "adapter_model.safetensors", path("tasks") / "adapter_model.safetensors",
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_EQ(with("num_tasks", 3), file + "model.safetensors: there is no tensor prefix_task_cols");
  EXPECT_THAT(with("peft_type", "PREFIX_TUNING"), HasSubstr("UNSUPPORTED"));
  EXPECT_THAT(with("peft_type", "PREFIX_TUNING"), HasSubstr("PREFIX_TUNING"));
}

}  // namespace
}  // namespace slipway::runtime
