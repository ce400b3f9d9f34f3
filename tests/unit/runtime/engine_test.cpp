#include "agents/engine/runtime/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <future>
#include <map>
#include <thread>

#include "agents/engine/runtime/thread_pool.h"
#include "backend/base/error.h"
#include "backend/base/files.h"
#include "tests/unit/runtime/requests.h"
#include "tests/unit/runtime/tiny_model.h"

namespace slipway::runtime {
namespace {

using testing::HasSubstr;

class EngineTest : public testing::Test {
 protected:
  EngineTest() {
    write_tiny_model(folder_.path() / "model");
    write_tiny_adapter(folder_.path() / "a", 1);
    write_tiny_adapter(folder_.path() / "b", 2);
  }
  std::unique_ptr<Engine> engine(EngineOptions options = {}) const {
    if (options.threads == 0) options.threads = 2;
    auto made = std::make_unique<Engine>(folder_.path() / "model", options);
    made->load_adapter("a", folder_.path() / "a");
    made->load_adapter("b", folder_.path() / "b");
    return made;
  }
  base::TemporaryFolder folder_;
};

std::vector<GenerationRequest> mixed_requests() {
  std::vector<GenerationRequest> requests;
  for (int i = 0; i < 24; ++i) {
    requests.push_back(request_of(i));
    requests.back().adapter = i % 4 == 1 ? "a" : i % 4 == 2 ? "b" : "";
  }
  return requests;
}

TEST_F(EngineTest, ARequestGivesTheSameBitsAloneAndInABatch) {
  for (const auto& [type, cache] : {std::pair{WeightType::kF32, CacheType::kAuto},
                                    {WeightType::kBF16, CacheType::kAuto},
                                    {WeightType::kInt8, CacheType::kInt8},
                                    {WeightType::kInt4, CacheType::kInt8}}) {
    EngineOptions options;
    options.weight_type = type;
    options.cache_type = cache;
    const auto one = engine(options);
    const auto requests = mixed_requests();
    std::vector<Outcome> alone;
    for (const auto& request : requests) {
      alone.push_back(start(*one, request).get());
      EXPECT_EQ(alone.back().reason, FinishReason::kLength);
      EXPECT_EQ(alone.back().tokens.size(), static_cast<size_t>(request.max_tokens));
    }
    EXPECT_EQ(all_at_once(*one, requests), alone);
    EXPECT_NE(alone[0].tokens, alone[3].tokens);
    // Other numbers of threads and of places change nothing either.
    options.threads = 1;
    options.max_num_seqs = 3;
    EXPECT_EQ(all_at_once(*engine(options), requests), alone);
  }
}

TEST_F(EngineTest, RequestsThatOutgrowTheCacheWaitAndEndTheSame) {
  const auto requests = mixed_requests();
  const auto roomy = all_at_once(*engine(), requests);
  EngineOptions options;
  options.max_model_len = 80;
  options.kv_cache_tokens = 96;  // six pages for up to 24 sequences of two to five
  const auto tight = engine(options);
  EXPECT_EQ(all_at_once(*tight, requests), roomy);
  EXPECT_EQ(tight->stats().kv_cache_usage, 0);
  EXPECT_EQ(tight->stats().running + tight->stats().waiting, 0);
}

TEST_F(EngineTest, ALongPromptInChunksGivesTheSameScoresAsAlone) {
  const auto one = engine();
  const auto prompt = request_of(5, 250).prompt;
  const auto scores = one->score(prompt, "a");
  ASSERT_EQ(scores.size(), prompt.size() - 1);
  auto background = request_of(7);
  background.max_tokens = 200;  // keeps the chunks of the others small
  auto running = start(*one, background);
  EXPECT_EQ(one->score(prompt, "a"), scores);
  running.get();
  const auto logits = one->logits(prompt, "a", true);
  const auto last = one->logits(prompt, "a", false);
  ASSERT_EQ(logits.size(), prompt.size() * 131);
  EXPECT_TRUE(std::equal(last.begin(), last.end(), logits.end() - 131));
  for (size_t i = 0; i + 1 < prompt.size(); ++i) {
    double total = 0;
    for (size_t j = 0; j < 131; ++j) total += std::exp(static_cast<double>(logits[i * 131 + j]));
    ASSERT_NEAR(scores[i], logits[i * 131 + static_cast<size_t>(prompt[i + 1])] - std::log(total), 1e-4);
  }
}

// 64 requests: shared beginnings, several adapters, greedy and drawn.
std::vector<GenerationRequest> crowd() {
  std::vector<GenerationRequest> requests;
  const auto shared = request_of(50, 70).prompt;
  for (int i = 0; i < 64; ++i) {
    requests.push_back(request_of(i));
    requests.back().adapter = i % 4 == 1 ? "a" : i % 4 == 2 ? "b" : "";
    if (i % 2 == 0) requests.back().prompt.insert(requests.back().prompt.begin(), shared.begin(), shared.end());
    if (i % 5 == 0) requests.back().sampling.frequency_penalty = 0.3;
  }
  return requests;
}

TEST_F(EngineTest, NeitherCacheNorChunksNorGuessesChangeAnAnswer) {
  const auto requests = crowd();
  for (const auto cache : {CacheType::kF32, CacheType::kInt8}) {
    EngineOptions plain;
    plain.prefix_caching = false;
    plain.cache_type = cache;
    std::vector<Outcome> alone;
    const auto first = engine(plain);
    for (const auto& request : requests) alone.push_back(start(*first, request).get());
    EXPECT_EQ(all_at_once(*first, requests), alone);
    EXPECT_EQ(first->stats().prefix_hits, 0);

    EngineOptions options;
    options.cache_type = cache;
    options.speculative_tokens = 6;
    options.prompt_tokens_beside = 7;
    options.kv_cache_tokens = 1500;  // some are evicted
    options.adapters_in_memory = 1;  // and read again and again
    const auto second = engine(options);
    EXPECT_EQ(all_at_once(*second, requests), alone);
    EXPECT_EQ(all_at_once(*second, requests), alone);
    for (size_t i = 0; i < requests.size(); i += 9) EXPECT_EQ(start(*second, requests[i]).get(), alone[i]);
    const EngineStats stats = second->stats();
    EXPECT_GT(stats.prefix_hits, 1000);
    EXPECT_GT(stats.draft_tokens, 0);
    EXPECT_EQ(stats.adapters_in_memory, 1);
    EXPECT_EQ(stats.kv_cache_usage, 0);
  }
}

TEST_F(EngineTest, ARepeatingAnswerIsGuessedAndTheSame) {
  auto request = request_of(0);
  request.max_tokens = 150;
  request.sampling.logit_bias = {{17, 100.0F}, {18, 99.0F}};
  request.sampling.frequency_penalty = 1.0;  // one, then the other
  const auto expected = start(*engine(), request).get();
  EngineOptions options;
  options.speculative_tokens = 8;
  const auto guessing = engine(options);
  EXPECT_EQ(start(*guessing, request).get(), expected);
  EXPECT_GT(guessing->stats().accepted_draft_tokens, 50);
  // The end may come in the middle of what was guessed.
  int left = 77;
  request.on_token = [&](const GeneratedToken&) { return --left > 0; };
  const auto cut = start(*guessing, request).get();
  EXPECT_EQ(cut.reason, FinishReason::kStop);
  EXPECT_EQ(cut.tokens, std::vector<int32_t>(expected.tokens.begin(), expected.tokens.begin() + 77));
  EXPECT_EQ(guessing->stats().kv_cache_usage, 0);
}

TEST_F(EngineTest, TheSecondTurnOfAConversationFindsTheFirst) {
  const auto one = engine();
  auto request = request_of(3, 40);
  const auto answer = start(*one, request).get();
  EXPECT_EQ(one->stats().prefix_hits, 0);
  request.prompt.insert(request.prompt.end(), answer.tokens.begin(), answer.tokens.end());
  request.prompt.insert(request.prompt.end(), {5, 6, 7});
  const auto second = start(*one, request).get();
  EXPECT_GE(one->stats().prefix_hits, 32);
  EngineOptions plain;
  plain.prefix_caching = false;
  EXPECT_EQ(start(*engine(plain), request).get(), second);
}

TEST_F(EngineTest, AdaptersHaveTheirOwnPrefixes) {
  const auto one = engine();
  auto request = request_of(3, 60);
  start(*one, request).get();
  request.adapter = "a";
  const auto adapted = start(*one, request).get();
  EXPECT_EQ(one->stats().prefix_hits, 0);
  // Under the same name something else: what was computed with the first must not be found.
  one->unload_adapter("a");
  one->load_adapter("a", folder_.path() / "b");
  const auto other = start(*one, request).get();
  EXPECT_EQ(one->stats().prefix_hits, 0);
  EXPECT_NE(other.logprobs, adapted.logprobs);
}

TEST_F(EngineTest, ManyAdaptersShareAFewPlaces) {
  EngineOptions options;
  options.adapters_in_memory = 3;
  const auto one = engine(options);
  auto request = request_of(6);
  std::map<std::string, Outcome> expected;
  for (const char* name : {"a", "b"}) {
    request.adapter = name;
    expected[name] = start(*one, request).get();
  }
  for (int i = 0; i < 40; ++i) one->load_adapter("n" + std::to_string(i), folder_.path() / (i % 2 == 0 ? "a" : "b"));
  std::vector<GenerationRequest> requests;
  for (int i = 0; i < 40; ++i) {
    requests.push_back(request);
    requests.back().adapter = "n" + std::to_string(i);
  }
  const auto outcomes = all_at_once(*one, requests);
  for (size_t i = 0; i < 40; ++i) EXPECT_EQ(outcomes[i], expected[i % 2 == 0 ? "a" : "b"]);
  EXPECT_EQ(one->stats().adapters, 42);
  EXPECT_EQ(one->stats().adapters_in_memory, 3);
}

TEST_F(EngineTest, PromptTokensHaveLogprobsToo) {
  const auto one = engine();
  auto request = request_of(4, 60);
  const auto scores = one->score(request.prompt, "a");
  std::vector<GeneratedToken> given;
  request.adapter = "a";
  request.prompt_logprobs = 2;
  request.on_prompt = [&](const std::vector<GeneratedToken>& tokens) { given = tokens; };
  for (int round = 0; round < 2; ++round) {  // the cache holds it the second time
    start(*one, request).get();
    ASSERT_EQ(given.size(), 60U);
    for (size_t i = 1; i < given.size(); ++i) {
      EXPECT_EQ(given[i].id, request.prompt[i]);
      EXPECT_EQ(given[i].logprob, scores[i - 1]);
      ASSERT_EQ(given[i].top_logprobs.size(), 2U);
      EXPECT_GE(given[i].top_logprobs[0].logprob, given[i].logprob);
    }
    given.clear();
  }
}

TEST_F(EngineTest, LogitBiasForcesAndForbids) {
  const auto one = engine();
  auto request = request_of(3);
  const auto free = start(*one, request).get().tokens;
  request.sampling.logit_bias = {{17, 100.0F}};
  EXPECT_THAT(start(*one, request).get().tokens, testing::Each(17));
  request.sampling.logit_bias = {{free[0], -100.0F}};
  EXPECT_NE(start(*one, request).get().tokens[0], free[0]);
  request.sampling.logit_bias = {{131, 1.0F}};
  EXPECT_THROW(one->submit(request), base::Error);
}

TEST_F(EngineTest, AnEmbeddingIsTheSameAloneAndBesideOthers) {
  const auto one = engine();
  const auto embed = [&](const std::vector<int32_t>& prompt, const std::string& adapter) {
    auto done = std::make_shared<std::promise<std::vector<float>>>();
    EmbeddingRequest request;
    request.prompt = prompt;
    request.adapter = adapter;
    request.on_finish = [done](FinishReason reason, const std::string&, std::vector<float> state) {
      EXPECT_EQ(reason, FinishReason::kStop);
      done->set_value(std::move(state));
    };
    one->submit(std::move(request));
    return done->get_future();
  };
  const auto prompt = request_of(5, 100).prompt;
  const auto state = embed(prompt, "a").get();
  ASSERT_EQ(state.size(), 48U);
  EXPECT_NE(embed(prompt, "").get(), state);
  auto running = start(*one, request_of(7, 120));
  EXPECT_EQ(embed(prompt, "a").get(), state);
  running.get();
}

// Lets one token come after another, then the end.
class Countdown : public TokenConstraint {
 public:
  explicit Countdown(std::vector<int32_t> tokens) : tokens_(std::move(tokens)) {}
  bool fill_mask(std::span<int32_t> mask) noexcept override {
    std::fill(mask.begin(), mask.end(), 0);
    const int32_t next = at_ < tokens_.size() ? tokens_[at_] : 2;
    mask[static_cast<size_t>(next / 32)] = static_cast<int32_t>(1U << (next % 32));
    return true;
  }
  bool accept(int32_t token) noexcept override {
    const bool good = token == (at_ < tokens_.size() ? tokens_[at_] : 2);
    ++at_;
    return good;
  }
  bool complete() const noexcept override { return at_ > tokens_.size(); }

 private:
  std::vector<int32_t> tokens_;
  size_t at_ = 0;
};

TEST_F(EngineTest, AConstraintDecidesWhatMayCome) {
  EngineOptions options;
  options.speculative_tokens = 4;
  const auto one = engine(options);
  std::vector<GenerationRequest> requests;
  for (int i = 0; i < 12; ++i) {
    requests.push_back(request_of(i));
    requests.back().max_tokens = 100;
    requests.back().min_tokens = i;  // the grammar's end comes first
    requests.back().ignore_eos = i % 2 == 0;
    requests.back().constraint = std::make_shared<Countdown>(std::vector<int32_t>{100, 5, 5, 5, 5, 100 + i});
  }
  for (size_t i = 0; const Outcome& outcome : all_at_once(*one, requests)) {
    EXPECT_THAT(outcome.tokens, testing::ElementsAre(100, 5, 5, 5, 5, 100 + static_cast<int32_t>(i++)));
    EXPECT_EQ(outcome.reason, FinishReason::kStop) << outcome.message;
  }
}

TEST_F(EngineTest, EndTokensAndStopTokensFinishWithoutBeingGiven) {
  const auto one = engine();
  auto request = request_of(0);
  const auto tokens = start(*one, request).get().tokens;
  request.stop_token_ids = {tokens[3]};
  const auto first = static_cast<size_t>(std::find(tokens.begin(), tokens.end(), tokens[3]) - tokens.begin());
  auto outcome = start(*one, request).get();
  EXPECT_EQ(outcome.reason, FinishReason::kStop);
  EXPECT_EQ(outcome.tokens, std::vector<int32_t>(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(first)));
  request.min_tokens = 6;
  outcome = start(*one, request).get();
  EXPECT_GE(outcome.tokens.size(), 6U);
}

TEST_F(EngineTest, StopsWhenTheReceiverSaysSoAndWhenItIsCancelled) {
  const auto one = engine();
  auto request = request_of(3);
  int left = 4;
  request.on_token = [&](const GeneratedToken&) { return --left > 0; };
  auto outcome = start(*one, request).get();
  EXPECT_EQ(outcome.reason, FinishReason::kStop);
  EXPECT_EQ(outcome.tokens.size(), 4U);

  request = request_of(4);
  request.max_tokens = 0;
  std::promise<uint64_t> id;
  auto known = id.get_future().share();
  bool sent = false;
  request.on_token = [&](const GeneratedToken&) {
    if (!sent) one->cancel(known.get());
    sent = true;
    return true;
  };
  uint64_t number = 0;
  auto future = start(*one, request, &number);
  id.set_value(number);
  outcome = future.get();
  EXPECT_EQ(outcome.reason, FinishReason::kCancelled);
  EXPECT_EQ(outcome.tokens.size(), 1U);
  EXPECT_EQ(one->stats().kv_cache_usage, 0);
  one->cancel(number);  // gone already
  one->cancel(12345);

  request = request_of(4);
  request.on_token = [](const GeneratedToken&) -> bool { throw std::runtime_error("the receiver broke"); };
  outcome = start(*one, request).get();
  EXPECT_EQ(outcome.reason, FinishReason::kError);
  EXPECT_EQ(outcome.message, "the receiver broke");
}

TEST_F(EngineTest, RunsUpToTheModelsLength) {
  EngineOptions options;
  options.max_model_len = 50;
  const auto one = engine(options);
  auto request = request_of(1, 20);
  request.max_tokens = 0;
  EXPECT_EQ(start(*one, request).get().tokens.size(), 30U);
  request.max_tokens = 1000;
  EXPECT_EQ(start(*one, request).get().tokens.size(), 30U);
  EXPECT_EQ(start(*one, request_of(1, 49)).get().tokens.size(), 1U);
  options.max_model_len = 257;
  EXPECT_THROW(engine(options), base::Error);
}

TEST_F(EngineTest, RefusesBadRequestsAndGoesOn) {
  const auto one = engine();
  const auto failure = [&](auto change) {
    auto request = request_of(1);
    change(request);
    try {
      one->submit(request);
      return std::string();
    } catch (const base::Error& error) {
      return error.code() + " " + error.what();
    }
  };
  EXPECT_THAT(failure([](auto& r) { r.prompt.clear(); }), HasSubstr("INVALID_REQUEST the prompt is empty"));
  EXPECT_THAT(failure([](auto& r) { r.prompt.assign(256, 3); }), HasSubstr("256 tokens"));
  EXPECT_THAT(failure([](auto& r) { r.prompt[1] = 131; }), HasSubstr("token 131"));
  EXPECT_THAT(failure([](auto& r) { r.prompt[1] = -1; }), HasSubstr("token -1"));
  EXPECT_THAT(failure([](auto& r) { r.adapter = "missing"; }), HasSubstr("NOT_FOUND the adapter 'missing'"));
  EXPECT_THAT(failure([](auto& r) { r.sampling.top_p = 2; }), HasSubstr("top_p"));
  EXPECT_THAT(failure([](auto& r) { r.max_tokens = -1; }), HasSubstr("max_tokens"));
  EXPECT_EQ(start(*one, request_of(2)).get().reason, FinishReason::kLength);
}

TEST_F(EngineTest, AdaptersComeAndGoWhileRequestsRun) {
  const auto one = engine();
  EXPECT_THAT(one->adapters(), testing::ElementsAre("a", "b"));
  auto request = request_of(6);
  const auto base = start(*one, request).get();
  request.adapter = "a";
  const auto expected = start(*one, request).get();
  EXPECT_NE(expected.logprobs, base.logprobs);
  request.on_token = [&](const GeneratedToken&) {
    one->unload_adapter("a");
    return true;
  };
  EXPECT_EQ(start(*one, request).get(), expected);  // what runs keeps it
  EXPECT_THROW(one->submit(request), base::Error);
  EXPECT_THROW(one->load_adapter("c", folder_.path() / "nowhere"), base::Error);
  write_tiny_adapter(folder_.path() / "wrong", 3, 47);
  try {
    one->load_adapter("wrong", folder_.path() / "wrong");
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_EQ(error.code(), base::kInvalidModel);
    EXPECT_THAT(error.what(), HasSubstr("is adapted as 72 × 47, the base model has 72 × 48"));
  }
}

TEST_F(EngineTest, WeightsThatDoNotFitTheConfigurationAreNamed) {
  auto architecture = tiny_architecture();
  architecture.intermediate_size = 80;
  std::ofstream(folder_.path() / "model" / "config.json") << model::config_from_architecture(architecture, "float32");
  try {
    engine();
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("mlp.gate_proj.weight is 72 × 48, the configuration says 80 × 48"));
  }
}

TEST_F(EngineTest, AConfigurationThatLiesAboutSizesCostsNoMemory) {
  auto architecture = tiny_architecture();
  architecture.vocab_size = 1 << 24;
  architecture.hidden_size = 1 << 18;  // 2^44 bytes of embeddings
  std::ofstream(folder_.path() / "model" / "config.json") << model::config_from_architecture(architecture, "float32");
  try {
    engine();
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_EQ(error.code(), base::kInvalidModel);
    EXPECT_THAT(error.what(), HasSubstr("embed_tokens.weight is 131 × 48"));
  }
}

TEST_F(EngineTest, DamagedWeightsEndTheRequestNotTheEngine) {
  const auto one = engine();
  model::Adapter adapter = model::load_adapter(folder_.path() / "a");
  adapter.tensors[0].a[0] = NAN;
  model::save_adapter(folder_.path() / "nan", adapter);
  one->load_adapter("nan", folder_.path() / "nan");
  auto request = request_of(1);
  request.adapter = "nan";
  const auto outcome = start(*one, request).get();
  EXPECT_EQ(outcome.reason, FinishReason::kError);
  EXPECT_THAT(outcome.message, HasSubstr("not a number"));
  EXPECT_THROW(one->score(request.prompt, "nan"), base::Error);
  EXPECT_EQ(start(*one, request_of(1)).get().reason, FinishReason::kLength);
}

TEST_F(EngineTest, EndingTheEngineFinishesWhatRunsAndWaits) {
  EngineOptions options;
  options.max_num_seqs = 2;
  auto one = engine(options);
  std::vector<std::future<Outcome>> futures;
  for (int i = 0; i < 6; ++i) {
    auto request = request_of(i);
    request.max_tokens = 0;
    futures.push_back(start(*one, request));
  }
  one.reset();
  for (auto& future : futures) {
    const auto outcome = future.get();
    EXPECT_TRUE(outcome.reason == FinishReason::kCancelled || outcome.reason == FinishReason::kLength);
  }
}

TEST_F(EngineTest, ManyThreadsSubmitCancelAndScore) {
  const auto one = engine();
  const auto scores = one->score(request_of(1).prompt, "b");
  const auto expected = start(*one, request_of(9)).get();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 6; ++i) {
        auto kept = start(*one, request_of(9));
        uint64_t id = 0;
        auto dropped = start(*one, request_of(t + i), &id);
        one->cancel(id);
        EXPECT_EQ(one->score(request_of(1).prompt, "b"), scores);
        EXPECT_EQ(kept.get(), expected);
        dropped.get();
        one->stats();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  const auto stats = one->stats();
  EXPECT_GE(stats.generated_tokens, 25 * request_of(9).max_tokens);
}

TEST(ThreadPool, EveryIndexRunsOnce) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (int round = 0; round < 300; ++round) {
      const int64_t count = round % 40;
      std::vector<std::atomic<int>> seen(static_cast<size_t>(count));
      pool.run(count, [&](int64_t index, int worker) {
        EXPECT_LT(worker, threads);
        ++seen[static_cast<size_t>(index)];
      });
      for (const auto& value : seen) ASSERT_EQ(value, 1);
    }
  }
}

}  // namespace
}  // namespace slipway::runtime
