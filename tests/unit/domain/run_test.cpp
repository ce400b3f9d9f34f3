#include "backend/domain/run.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <stdexcept>

namespace slipway::domain {
namespace {

using Kind = Decision::Kind;

RunFacts diamond() {
  return {RunState::kQueued,
          {{"prepare", TaskDoer::kEngine, TaskState::kPending, {}},
           {"train", TaskDoer::kEngine, TaskState::kPending, {"prepare"}},
           {"evaluate", TaskDoer::kEngine, TaskState::kPending, {"prepare"}},
           {"gate", TaskDoer::kBackend, TaskState::kPending, {"train", "evaluate"}},
           {"deploy", TaskDoer::kBackend, TaskState::kPending, {"gate"}}}};
}

TaskFacts& task(RunFacts& run, const std::string& name) {
  for (TaskFacts& each : run.tasks) {
    if (each.name == name) return each;
  }
  throw std::out_of_range(name);
}

// Carries decisions out as service/ does; engine tasks only become queued.
void carry_out(RunFacts& run, const std::vector<Decision>& decisions) {
  for (const Decision& decision : decisions) {
    switch (decision.kind) {
      case Kind::kQueueTask:
        task(run, decision.task).state = TaskState::kQueued;
        break;
      case Kind::kDoTask:
        task(run, decision.task).state = TaskState::kRunning;
        break;
      case Kind::kSkipTask:
        task(run, decision.task).state = TaskState::kSkipped;
        break;
      case Kind::kCancelTask:
        task(run, decision.task).state = TaskState::kCancelled;
        break;
      case Kind::kStopTask:
        break;
      case Kind::kSetRunState:
        run.state = decision.run_state;
        break;
    }
  }
}

TEST(AdvanceRun, QueuesWhatNeedsNothingFirst) {
  EXPECT_EQ(advance_run(diamond()), (std::vector<Decision>{{Kind::kQueueTask, "prepare", ""}}));
}

TEST(AdvanceRun, RunsOnlyOnceATaskHasBegun) {
  RunFacts run = diamond();
  task(run, "prepare").state = TaskState::kQueued;
  EXPECT_TRUE(advance_run(run).empty());
  task(run, "prepare").state = TaskState::kRunning;
  EXPECT_EQ(advance_run(run), (std::vector<Decision>{{Kind::kSetRunState, "", "", RunState::kRunning}}));
}

TEST(AdvanceRun, QueuesEverythingThatBecameReady) {
  RunFacts run = diamond();
  run.state = RunState::kRunning;
  task(run, "prepare").state = TaskState::kSucceeded;
  EXPECT_EQ(advance_run(run),
            (std::vector<Decision>{{Kind::kQueueTask, "train", ""}, {Kind::kQueueTask, "evaluate", ""}}));
}

TEST(AdvanceRun, DoesTheBackendsTaskOnlyWhenAllNeedsSucceeded) {
  RunFacts run = diamond();
  run.state = RunState::kRunning;
  for (const char* name : {"prepare", "train"}) task(run, name).state = TaskState::kSucceeded;
  task(run, "evaluate").state = TaskState::kRunning;
  EXPECT_TRUE(advance_run(run).empty());
  task(run, "evaluate").state = TaskState::kSucceeded;
  EXPECT_EQ(advance_run(run), (std::vector<Decision>{{Kind::kDoTask, "gate", ""}}));
}

TEST(AdvanceRun, SkipsAllThatFollowsAFailureAndFailsWhenTheRestHasEnded) {
  RunFacts run = diamond();
  run.state = RunState::kRunning;
  task(run, "prepare").state = TaskState::kSucceeded;
  task(run, "train").state = TaskState::kFailed;
  task(run, "evaluate").state = TaskState::kRunning;
  const auto decisions = advance_run(run);
  EXPECT_EQ(decisions,
            (std::vector<Decision>{{Kind::kSkipTask, "gate", "train"}, {Kind::kSkipTask, "deploy", "gate"}}));
  carry_out(run, decisions);
  task(run, "evaluate").state = TaskState::kSucceeded;
  EXPECT_EQ(advance_run(run), (std::vector<Decision>{{Kind::kSetRunState, "", "", RunState::kFailed}}));
}

TEST(AdvanceRun, SucceedsWhenAllTasksHave) {
  RunFacts run = diamond();
  run.state = RunState::kRunning;
  for (TaskFacts& each : run.tasks) each.state = TaskState::kSucceeded;
  EXPECT_EQ(advance_run(run), (std::vector<Decision>{{Kind::kSetRunState, "", "", RunState::kSucceeded}}));
}

TEST(AdvanceRun, CancellingStopsWhatRunsAndCancelsWhatWaits) {
  RunFacts run = diamond();
  run.state = RunState::kCancelling;
  task(run, "prepare").state = TaskState::kSucceeded;
  task(run, "train").state = TaskState::kRunning;
  task(run, "evaluate").state = TaskState::kQueued;
  const auto decisions = advance_run(run);
  EXPECT_EQ(decisions, (std::vector<Decision>{{Kind::kStopTask, "train", ""},
                                              {Kind::kCancelTask, "evaluate", ""},
                                              {Kind::kCancelTask, "gate", ""},
                                              {Kind::kCancelTask, "deploy", ""}}));
  carry_out(run, decisions);
  task(run, "train").state = TaskState::kCancelled;
  EXPECT_EQ(advance_run(run), (std::vector<Decision>{{Kind::kSetRunState, "", "", RunState::kCancelled}}));
}

TEST(AdvanceRun, ACancelThatCameTooLateLeavesASuccess) {
  RunFacts run = diamond();
  run.state = RunState::kCancelling;
  for (TaskFacts& each : run.tasks) each.state = TaskState::kSucceeded;
  EXPECT_EQ(advance_run(run), (std::vector<Decision>{{Kind::kSetRunState, "", "", RunState::kSucceeded}}));
}

TEST(AdvanceRun, AnEndedRunDoesNothing) {
  RunFacts run = diamond();
  for (const RunState state : {RunState::kSucceeded, RunState::kFailed, RunState::kCancelled}) {
    run.state = state;
    EXPECT_TRUE(advance_run(run).empty());
  }
}

// Random graphs with random outcomes always end, whatever the order in which tasks are listed.
TEST(AdvanceRun, EveryRunEnds) {
  for (uint32_t seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    RunFacts run;
    const int count = 1 + static_cast<int>(random() % 8);
    for (int i = 0; i < count; ++i) {
      TaskFacts each{
          "t" + std::to_string(i), random() % 3 == 0 ? TaskDoer::kBackend : TaskDoer::kEngine, TaskState::kPending, {}};
      for (int j = 0; j < i; ++j) {
        if (random() % 2 == 0) each.needs.push_back("t" + std::to_string(j));
      }
      run.tasks.push_back(each);
    }
    std::shuffle(run.tasks.begin(), run.tasks.end(), random);
    int rounds = 0;
    while (!is_final(run.state)) {
      ASSERT_LT(++rounds, 100) << "seed " << seed;
      carry_out(run, advance_run(run));
      if (random() % 20 == 0 && !is_final(run.state)) run.state = RunState::kCancelling;
      for (TaskFacts& each : run.tasks) {
        if (each.state == TaskState::kQueued && random() % 2 == 0) each.state = TaskState::kRunning;
        if (each.state == TaskState::kRunning && random() % 2 == 0) {
          each.state = run.state == RunState::kCancelling ? TaskState::kCancelled
                       : random() % 5 == 0                ? TaskState::kFailed
                                                          : TaskState::kSucceeded;
        }
      }
    }
    for (const TaskFacts& each : run.tasks) EXPECT_TRUE(is_final(each.state));
    EXPECT_TRUE(advance_run(run).empty());
  }
}

TEST(AfterAttempt, TriesAgainAfterALossButNotForEver) {
  EXPECT_EQ(after_attempt(AttemptState::kLost, false, 1).state, TaskState::kPending);
  EXPECT_EQ(after_attempt(AttemptState::kStopped, false, kTriesAfterLoss).state, TaskState::kPending);
  EXPECT_EQ(after_attempt(AttemptState::kLost, false, kTriesAfterLoss + 1).state, TaskState::kFailed);
}

TEST(AfterAttempt, AnAskedStopCancelsButASuccessStands) {
  EXPECT_EQ(after_attempt(AttemptState::kStopped, true, 0).state, TaskState::kCancelled);
  EXPECT_EQ(after_attempt(AttemptState::kLost, true, 1).state, TaskState::kCancelled);
  EXPECT_EQ(after_attempt(AttemptState::kFailed, true, 0).state, TaskState::kCancelled);
  EXPECT_EQ(after_attempt(AttemptState::kSucceeded, true, 0).state, TaskState::kSucceeded);
}

TEST(AfterAttempt, AFailureFailsTheTask) {
  EXPECT_EQ(after_attempt(AttemptState::kFailed, false, 0).state, TaskState::kFailed);
}

TEST(Retried, KeepsWhatSucceeded) {
  EXPECT_EQ(retried(TaskState::kSucceeded), TaskState::kSucceeded);
  for (const TaskState state : {TaskState::kFailed, TaskState::kCancelled, TaskState::kSkipped}) {
    EXPECT_EQ(retried(state), TaskState::kPending);
  }
}

TEST(States, NamesRoundTrip) {
  for (int i = 0; i < 6; ++i) EXPECT_EQ(run_state_of(name_of(static_cast<RunState>(i))), static_cast<RunState>(i));
  for (int i = 0; i < 7; ++i) EXPECT_EQ(task_state_of(name_of(static_cast<TaskState>(i))), static_cast<TaskState>(i));
  for (int i = 0; i < 7; ++i) {
    EXPECT_EQ(attempt_state_of(name_of(static_cast<AttemptState>(i))), static_cast<AttemptState>(i));
  }
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(deployment_state_of(name_of(static_cast<DeploymentState>(i))), static_cast<DeploymentState>(i));
  }
  EXPECT_FALSE(run_state_of("unheard-of"));
}

}  // namespace
}  // namespace slipway::domain
