#include "backend/domain/deployment.h"

#include <gtest/gtest.h>

namespace slipway::domain {
namespace {

DeploymentFacts wanted(Wanted wanted, AttemptState state, bool ready = false, bool stop_asked = false) {
  return {wanted, ReplicaFacts{state, stop_asked, ready, true}, 0, std::nullopt};
}

TEST(AdvanceDeployment, AsksForAReplicaWhenThereIsNone) {
  EXPECT_EQ(advance_deployment({}), (DeploymentDecision{.state = DeploymentState::kQueued, .new_replica = true}));
}

TEST(AdvanceDeployment, FollowsItsReplica) {
  const auto state = [](AttemptState attempt, bool ready) {
    return advance_deployment(wanted(Wanted::kRunning, attempt, ready)).state;
  };
  EXPECT_EQ(state(AttemptState::kPending, false), DeploymentState::kQueued);
  EXPECT_EQ(state(AttemptState::kStarting, false), DeploymentState::kStarting);
  EXPECT_EQ(state(AttemptState::kRunning, false), DeploymentState::kStarting);
  EXPECT_EQ(state(AttemptState::kRunning, true), DeploymentState::kReady);
  EXPECT_EQ(state(AttemptState::kFailed, false), DeploymentState::kFailed);
}

TEST(AdvanceDeployment, ReplacesALostReplicaButNotForEver) {
  DeploymentFacts facts = wanted(Wanted::kRunning, AttemptState::kLost);
  facts.losses = kReplicasAfterLoss;
  EXPECT_TRUE(advance_deployment(facts).new_replica);
  facts.losses = kReplicasAfterLoss + 1;
  EXPECT_EQ(advance_deployment(facts), DeploymentDecision{DeploymentState::kFailed});
}

TEST(AdvanceDeployment, StopsInOrder) {
  EXPECT_EQ(advance_deployment(wanted(Wanted::kStopped, AttemptState::kRunning, true)),
            (DeploymentDecision{.state = DeploymentState::kStopping, .stop_replica = true}));
  EXPECT_EQ(advance_deployment(wanted(Wanted::kStopped, AttemptState::kRunning, true, true)),
            DeploymentDecision{DeploymentState::kStopping});
  EXPECT_EQ(advance_deployment(wanted(Wanted::kStopped, AttemptState::kSucceeded, false, true)),
            DeploymentDecision{DeploymentState::kStopped});
  EXPECT_EQ(advance_deployment(wanted(Wanted::kStopped, AttemptState::kPending)),
            (DeploymentDecision{.state = DeploymentState::kStopped, .drop_replica = true}));
}

TEST(AdvanceDeployment, StartedAgainWhileItStopsLeavesFirst) {
  EXPECT_EQ(advance_deployment(wanted(Wanted::kRunning, AttemptState::kRunning, true, true)),
            DeploymentDecision{DeploymentState::kStarting});
  EXPECT_TRUE(advance_deployment(wanted(Wanted::kRunning, AttemptState::kStopped, false, true)).new_replica);
}

TEST(AdvanceDeployment, IsUnreachableWhileItsNodeIsOffline) {
  DeploymentFacts facts = wanted(Wanted::kRunning, AttemptState::kRunning, true);
  facts.replica->reachable = false;
  EXPECT_EQ(advance_deployment(facts), DeploymentDecision{DeploymentState::kUnreachable});
  facts.replica->ready = false;
  EXPECT_EQ(advance_deployment(facts), DeploymentDecision{DeploymentState::kStarting});
}

TEST(AdvanceDeployment, TheFormerServesUntilTheNewIsReady) {
  DeploymentFacts facts = wanted(Wanted::kRunning, AttemptState::kPending);
  facts.former = ReplicaFacts{AttemptState::kRunning, false, true, true};
  EXPECT_EQ(advance_deployment(facts), (DeploymentDecision{.state = DeploymentState::kQueued, .serve_former = true}));
  facts.replica->state = AttemptState::kRunning;
  EXPECT_EQ(advance_deployment(facts), (DeploymentDecision{.state = DeploymentState::kStarting, .serve_former = true}));
  facts.replica->ready = true;
  EXPECT_EQ(advance_deployment(facts), (DeploymentDecision{.state = DeploymentState::kReady, .stop_former = true}));
  facts.former->stop_asked = true;
  EXPECT_EQ(advance_deployment(facts), DeploymentDecision{DeploymentState::kReady});
}

TEST(AdvanceDeployment, ANewVersionThatFailsIsWithdrawn) {
  DeploymentFacts facts = wanted(Wanted::kRunning, AttemptState::kFailed);
  facts.former = ReplicaFacts{AttemptState::kRunning, false, true, true};
  EXPECT_EQ(advance_deployment(facts),
            (DeploymentDecision{.state = DeploymentState::kReady, .serve_former = true, .withdraw = true}));
  facts.former->stop_asked = true;
  EXPECT_EQ(advance_deployment(facts), DeploymentDecision{DeploymentState::kFailed});
}

TEST(AdvanceDeployment, AStopEndsTheFormerToo) {
  DeploymentFacts facts = wanted(Wanted::kStopped, AttemptState::kPending);
  facts.former = ReplicaFacts{AttemptState::kRunning, false, true, true};
  EXPECT_EQ(advance_deployment(facts),
            (DeploymentDecision{.state = DeploymentState::kStopping, .drop_replica = true, .stop_former = true}));
}

}  // namespace
}  // namespace slipway::domain
