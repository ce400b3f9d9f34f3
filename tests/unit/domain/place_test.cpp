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

QueuedAttempt gang(const std::string& id, int ranks, int nodes, const std::string& preferred = "") {
  QueuedAttempt queued = attempt(id, "train", preferred);
  queued.ranks = ranks;
  queued.nodes = nodes;
  return queued;
}
DeviceFacts gpu(int number, const std::string& holder = "") {
  return {"gpu" + std::to_string(number), "cuda", holder, "task " + holder};
}

TEST(PlaceGang, RanksOnOneCpuAreOnePlacement) {
  EXPECT_EQ(place({gang("a", 4, 1)}, {node("n1", {kCpu}), node("n2", {kCpu})}).placements,
            (std::vector<Placement>{{"a", "n1", "cpu"}}));
}

TEST(PlaceGang, IsSpreadEvenlyWithRankZeroWhereItsCheckpointsAre) {
  EXPECT_EQ(place({gang("a", 4, 2, "n2")}, {node("n1", {kCpu}), node("n2", {kCpu})}).placements,
            (std::vector<Placement>{
                {"a", "n2", "cpu", 0}, {"a", "n2", "cpu", 1}, {"a", "n1", "cpu", 2}, {"a", "n1", "cpu", 3}}));
  EXPECT_EQ(place({gang("a", 2, 1)}, {node("n1", {kCpu, gpu(0)}), node("n2", {kCpu, gpu(0, "x"), gpu(1), gpu(2)})})
                .placements,
            (std::vector<Placement>{{"a", "n2", "gpu1", 0}, {"a", "n2", "gpu2", 1}}));
}

TEST(PlaceGang, WaitsWholeAndKeepsWhatItCouldUse) {
  DeviceFacts busy = kCpu;
  busy.holder = "x";
  busy.holder_label = "task x";
  const auto plan = place({gang("a", 2, 2), attempt("b", "eval")}, {node("n1", {kCpu}), node("n2", {busy})});
  EXPECT_TRUE(plan.placements.empty());
  ASSERT_EQ(plan.waiting.size(), 2U);
  EXPECT_EQ(plan.waiting[0].reason, "1 of 2 nodes it asks for are free: cpu of node name-n2 is busy with task x");
  EXPECT_EQ(plan.waiting[1].reason, "cpu of node name-n1 is busy with task a, which waits for further nodes");
}

TEST(PlaceGang, ThatCanNeverBePlacedHoldsNothing) {
  const auto plan = place({gang("a", 3, 3), attempt("b", "eval")}, {node("n1", {kCpu}), node("n2", {kCpu}, false)});
  EXPECT_EQ(plan.placements, (std::vector<Placement>{{"b", "n1", "cpu"}}));
  ASSERT_EQ(plan.waiting.size(), 1U);
  EXPECT_EQ(plan.waiting[0].reason, "it asks for 3 nodes with 1 cpu device, and 1 is online");
}

TEST(PlaceGang, WaitsForTheNodeOfItsCheckpoints) {
  DeviceFacts busy = kCpu;
  busy.holder = "x";
  const auto plan = place({gang("a", 2, 2, "n1")}, {node("n1", {busy}), node("n2", {kCpu}), node("n3", {kCpu})});
  EXPECT_TRUE(plan.placements.empty());
}

}  // namespace
}  // namespace slipway::domain
