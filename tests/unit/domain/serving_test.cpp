#include "backend/domain/serving.h"

#include <gtest/gtest.h>

namespace slipway::domain {
namespace {

ReplicaReading reading(int64_t time_ms, double generated) {
  ReplicaReading reading;
  reading.attempt_id = "attempt_1";
  reading.time_ms = time_ms;
  reading.values = {{"vllm:generation_tokens_total", generated}, {"vllm:num_requests_running", 3}};
  return reading;
}

TEST(Serving, QuantilesAreOfWhatCameBetween) {
  const CumulativeHistogram before{{1, 2, 4}, {10, 10, 10, 10}};
  const CumulativeHistogram after{{1, 2, 4}, {10, 20, 20, 20}};  // ten more, all from 1 to 2
  EXPECT_DOUBLE_EQ(*quantile(before, after, 0.5), 1.5);
  EXPECT_DOUBLE_EQ(*quantile(before, after, 1.0), 2.0);
  EXPECT_FALSE(quantile(after, after, 0.5)) << "nothing was observed";
}

TEST(Serving, QuantilesBeyondTheLastBoundGiveItsEndAndOtherBucketsNothing) {
  EXPECT_DOUBLE_EQ(*quantile({{1, 2}, {0, 0, 0}}, {{1, 2}, {0, 0, 5}}, 0.5), 2.0);
  EXPECT_DOUBLE_EQ(*quantile({{1, 2}, {0, 0, 0}}, {{1, 2}, {4, 4, 4}}, 0.25), 0.25);
  EXPECT_FALSE(quantile({{1, 2}, {0, 0, 0}}, {{1, 3}, {4, 4, 4}}, 0.5));
}

TEST(Serving, RatesAreOverTheTimeBetween) {
  auto before = reading(1000, 100), after = reading(3000, 500);
  before.values["vllm:prefix_cache_queries_total"] = 10;
  after.values["vllm:prefix_cache_queries_total"] = 50;
  after.values["vllm:prefix_cache_hits_total"] = 30;
  const auto sample = between(before, after);
  ASSERT_TRUE(sample);
  EXPECT_DOUBLE_EQ(sample->generation_tokens_per_s, 200);
  EXPECT_DOUBLE_EQ(sample->interval_s, 2);
  EXPECT_EQ(sample->running, 3);
  EXPECT_DOUBLE_EQ(*sample->prefix_cache_hits, 0.75);
  EXPECT_FALSE(sample->first_token.p50);
}

TEST(Serving, NothingIsSaidAcrossANewStart) {
  EXPECT_FALSE(between(reading(1000, 500), reading(3000, 100))) << "totals that fell";
  EXPECT_FALSE(between(reading(3000, 1), reading(3000, 2)));
  auto other = reading(5000, 900);
  other.attempt_id = "attempt_2";
  EXPECT_FALSE(between(reading(3000, 1), other));
}

}  // namespace
}  // namespace slipway::domain
