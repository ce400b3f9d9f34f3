#include "agents/engine/runtime/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "backend/base/error.h"
#include "tests/unit/runtime/tiny_model.h"

namespace slipway::runtime {
namespace {

const kernels::Table& table() { return *kernels::table(kernels::Level::kPortable); }

GeneratedToken choose(std::vector<float> logits, const SamplingOptions& options, std::vector<int32_t> tokens = {0},
                      int64_t prompt = 1, std::vector<int32_t> banned = {}) {
  return sample(logits, options, {tokens, prompt, banned, {}, {}}, log_total(logits, table()), table());
}

// How often each token is drawn over many seeds.
std::map<int32_t, double> shares(const std::vector<float>& logits, SamplingOptions options) {
  std::map<int32_t, double> counts;
  constexpr int kDraws = 20000;
  for (int i = 0; i < kDraws; ++i) {
    options.seed = static_cast<uint64_t>(i);
    counts[choose(logits, options).id] += 1.0 / kDraws;
  }
  return counts;
}

TEST(Sampler, TemperatureZeroTakesTheFirstBest) {
  SamplingOptions options;
  options.temperature = 0;
  EXPECT_EQ(choose({1, 3, 3, 2}, options).id, 1);
}

TEST(Sampler, LogprobsAreThoseOfTheModel) {
  SamplingOptions options;
  options.temperature = 0;
  options.top_logprobs = 2;
  const auto token = choose({std::log(1.0F), std::log(5.0F), std::log(2.0F)}, options);
  EXPECT_NEAR(token.logprob, std::log(5.0 / 8), 1e-6);
  ASSERT_EQ(token.top_logprobs.size(), 2U);
  EXPECT_EQ(token.top_logprobs[1].id, 2);
  EXPECT_NEAR(token.top_logprobs[1].logprob, std::log(2.0 / 8), 1e-6);
  // Penalties and temperature change the choice, not what is reported.
  options.repetition_penalty = 100;
  const auto punished = choose({std::log(1.5F), std::log(5.0F), std::log(2.0F)}, options, {1});
  EXPECT_EQ(punished.id, 2);
  EXPECT_NEAR(punished.logprob, std::log(2.0 / 8.5), 1e-6);
}

TEST(Sampler, DrawsFollowTheDistribution) {
  const std::vector<float> logits = {std::log(1.0F), std::log(2.0F), std::log(5.0F), std::log(2.0F)};
  SamplingOptions options;
  auto got = shares(logits, options);
  for (const auto& [id, share] : std::map<int32_t, double>{{0, 0.1}, {1, 0.2}, {2, 0.5}, {3, 0.2}})
    EXPECT_NEAR(got[id], share, 0.02);
  options.temperature = 0.5;  // squares the weights: 1, 4, 25, 4
  got = shares(logits, options);
  EXPECT_NEAR(got[2], 25.0 / 34, 0.02);
  options = {};
  options.top_k = 2;
  got = shares(logits, options);
  EXPECT_EQ(got.size(), 2U);
  EXPECT_NEAR(got[2], 5.0 / 7, 0.02);
  options = {};
  options.top_p = 0.6;  // 0.5 is not enough, 0.5 + 0.2 is
  got = shares(logits, options);
  EXPECT_EQ(got.size(), 2U);
  EXPECT_NEAR(got[1], 2.0 / 7, 0.02);
  options = {};
  options.min_p = 0.3;  // of the best one's 0.5: 0.15
  EXPECT_EQ(shares(logits, options).size(), 3U);
  options = {};
  options.top_p = 0;
  EXPECT_EQ(shares(logits, options).size(), 1U);
}

TEST(Sampler, TopPIsAShareOfWhatTopKAndMinPLeave) {
  const std::vector<float> logits = {std::log(0.4F), std::log(0.3F), std::log(0.2F), std::log(0.1F)};
  SamplingOptions options;
  options.top_p = 0.55;
  EXPECT_EQ(shares(logits, options).size(), 2U);
  options.min_p = 0.6;  // leaves 0.4 and 0.3, of which the first is more than 0.55
  EXPECT_EQ(shares(logits, options).size(), 1U);
  options.min_p = 0;
  options.top_k = 2;
  EXPECT_EQ(shares(logits, options).size(), 1U);
}

TEST(Sampler, TopPReachesBeyondTheBestFew) {
  // A flat distribution over 5,000 tokens: 0.9 of it needs 4,500 of them.
  SamplingOptions options;
  options.top_p = 0.9;
  int32_t highest = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    options.seed = seed;
    highest = std::max(highest, choose(std::vector<float>(5000, 1.0F), options).id);
  }
  EXPECT_GT(highest, 4000);
  EXPECT_LT(highest, 4501);
}

TEST(Sampler, TheDrawDependsOnSeedAndStepAlone) {
  const auto logits = random_values(500, 1, 3);
  SamplingOptions options;
  options.seed = 11;
  EXPECT_EQ(choose(logits, options).id, choose(logits, options).id);
  std::map<int32_t, int> by_step, by_seed;
  for (int i = 1; i < 20; ++i) {
    ++by_step[choose(logits, options, std::vector<int32_t>(static_cast<size_t>(i), 0), 1).id];
    options.seed = static_cast<uint64_t>(i) << 40U;
    ++by_seed[choose(logits, options).id];
    options.seed = 11;
  }
  EXPECT_GT(by_step.size(), 10U);
  EXPECT_GT(by_seed.size(), 10U);
}

TEST(Sampler, PenaltiesCountWhatWasGenerated) {
  SamplingOptions options;
  options.temperature = 0;
  options.frequency_penalty = 0.4;
  EXPECT_EQ(choose({2, 1.5, 0}, options, {0, 0, 0}, 3).id, 0);  // the prompt does not count
  EXPECT_EQ(choose({2, 1.5, 0}, options, {1, 0, 0}, 1).id, 1);
  options.frequency_penalty = 0;
  options.presence_penalty = 0.4;
  EXPECT_EQ(choose({2, 1.5, 0}, options, {1, 0, 0}, 1).id, 0);
  options.presence_penalty = 0;
  EXPECT_EQ(choose({2, 1.5, 0}, options, {1}, 1, {0}).id, 1);  // banned
}

TEST(Sampler, RefusesOptionsOutOfRange) {
  const auto refused = [](auto change) {
    SamplingOptions options;
    change(options);
    EXPECT_THROW(check_options(options), base::Error);
  };
  EXPECT_NO_THROW(check_options({}));
  refused([](auto& o) { o.temperature = -1; });
  refused([](auto& o) { o.temperature = NAN; });
  refused([](auto& o) { o.top_p = 1.5; });
  refused([](auto& o) { o.top_k = -1; });
  refused([](auto& o) { o.repetition_penalty = 0; });
  refused([](auto& o) { o.top_logprobs = 21; });
}

}  // namespace
}  // namespace slipway::runtime
