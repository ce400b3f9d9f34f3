#include "backend/domain/place.h"

#include <gtest/gtest.h>

namespace slipway::domain {
namespace {

QueuedAttempt attempt(const std::string& id, const std::string& engine, const std::string& preferred = "") {
  return {id, engine, engine == "serve", preferred, "task " + id};
}
NodeFacts node(const std::string& id, std::vector<DeviceFacts> devices, bool online = true) {
  return {id, "name-" + id, online, std::move(devices)};
}
const DeviceFacts kCpu{"cpu", "cpu", "", ""};
const DeviceFacts kGpu{"gpu0", "cuda", "", ""};

TEST(Place, FirstComeFirstServedOneTaskPerDevice) {
  const auto plan = place({attempt("a", "prep"), attempt("b", "eval")}, {node("n1", {kCpu})});
  EXPECT_EQ(plan.placements, (std::vector<Placement>{{"a", "n1", "cpu"}}));
  ASSERT_EQ(plan.waiting.size(), 1U);
  EXPECT_EQ(plan.waiting[0].reason, "cpu of node name-n1 is busy with task a");
}

TEST(Place, ReplicasAndTasksShareTheCpu) {
  DeviceFacts busy = kCpu;
  busy.holder = "x";
  EXPECT_EQ(place({attempt("s1", "serve"), attempt("s2", "serve")}, {node("n1", {busy})}).placements.size(), 2U);
  EXPECT_EQ(place({attempt("s1", "serve"), attempt("t", "eval")}, {node("n1", {kCpu})}).placements.size(), 2U);
}

TEST(Place, TrainingTakesAGpuAndWaitsForItRatherThanUseTheCpu) {
  const auto plan =
      place({attempt("a", "train"), attempt("b", "train"), attempt("c", "eval")}, {node("n1", {kCpu, kGpu})});
  EXPECT_EQ(plan.placements, (std::vector<Placement>{{"a", "n1", "gpu0"}, {"c", "n1", "cpu"}}));
  ASSERT_EQ(plan.waiting.size(), 1U);
  EXPECT_EQ(plan.waiting[0].attempt_id, "b");
}

TEST(Place, TrainingUsesTheCpuWhereThereIsNoGpu) {
  EXPECT_EQ(place({attempt("a", "train")}, {node("n1", {kCpu})}).placements,
            (std::vector<Placement>{{"a", "n1", "cpu"}}));
}

TEST(Place, GoesBackToTheNodeWithItsCheckpointWhileThatIsOnline) {
  DeviceFacts busy = kCpu;
  busy.holder = "x";
  const auto tied = place({attempt("a", "train", "n2")}, {node("n1", {kCpu}), node("n2", {busy})});
  EXPECT_TRUE(tied.placements.empty());
  const auto elsewhere = place({attempt("a", "train", "n2")}, {node("n1", {kCpu}), node("n2", {kCpu}, false)});
  EXPECT_EQ(elsewhere.placements, (std::vector<Placement>{{"a", "n1", "cpu"}}));
}

TEST(Place, SaysWhatToDoWhenNoNodeIsThere) {
  EXPECT_EQ(place({attempt("a", "prep")}, {}).waiting[0].reason,
            "no node has joined: start slipway-agent on a machine");
  EXPECT_EQ(place({attempt("a", "prep")}, {node("n1", {kCpu}, false)}).waiting[0].reason,
            "no node is online: start its slipway-agent");
}

}  // namespace
}  // namespace slipway::domain
