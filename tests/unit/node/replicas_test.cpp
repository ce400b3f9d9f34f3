// Serving engines seen from the agent: what their metrics say, where they are, and their adapters.
#include "agents/node/replicas.h"

#include <gtest/gtest.h>

#include "agents/node/replica_client.h"
#include "agents/node/replica_metrics.h"

namespace slipway::node {
namespace {

TEST(ReplicaMetrics, TakesWhatIsShownAndSumsOverLabels) {
  v1::ReplicaSample sample;
  read_metrics(R"(# HELP vllm:num_requests_running Requests.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="a b"} 2
vllm:request_success_total{model_name="m",finished_reason="stop"} 3
vllm:request_success_total{model_name="m",finished_reason="length"} 4
vllm:time_to_first_token_seconds_bucket{model_name="m",le="0.5"} 1
vllm:time_to_first_token_seconds_bucket{model_name="m",le="1"} 5
vllm:time_to_first_token_seconds_bucket{model_name="m",le="+Inf"} 6
vllm:time_to_first_token_seconds_sum{model_name="m"} 4.5
http_requests_total{handler="/x"} 9
vllm:kv_cache_usage_perc{model_name="m"} not-a-number
)",
               &sample);
  EXPECT_EQ(sample.values().at("vllm:num_requests_running"), 2);
  EXPECT_EQ(sample.values().at("vllm:request_success_total"), 7);
  EXPECT_EQ(sample.values().size(), 2U);
  const auto& histogram = sample.histograms().at("vllm:time_to_first_token_seconds");
  ASSERT_EQ(histogram.bounds_size(), 2);
  ASSERT_EQ(histogram.cumulative_counts_size(), 3);
  EXPECT_EQ(histogram.bounds(1), 1);
  EXPECT_EQ(histogram.cumulative_counts(2), 6);
}

TEST(Replicas, AreReadyFromTheirLastReadyEventOn) {
  std::string url;
  follow_ready({R"({"type":"started"})", R"({"type":"ready","url":"http://127.0.0.1:1"})", "not JSON: ready"}, url);
  EXPECT_EQ(url, "http://127.0.0.1:1");
  follow_ready({R"({"type":"started"})"}, url);
  EXPECT_EQ(url, "");
}

TEST(ReplicaClient, SaysWhyAnAddressDoesNotAnswer) {
  const auto call = [](const std::string& url) {
    return call_replica(url, "GET", "/", "", std::chrono::milliseconds(200)).status().code();
  };
  EXPECT_EQ(call("ftp://127.0.0.1:1"), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(call("http://localhost:1"), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(call("http://127.0.0.1:1"), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace slipway::node
