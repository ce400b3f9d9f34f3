// What `run watch` shows for what the watch stream says.
#include "app/cli/run_view.h"

#include <gtest/gtest.h>

namespace slipway::cli {
namespace {

v1::Run run(v1::RunState state, v1::TaskState train) {
  v1::Run run;
  run.set_id("run-1");
  run.set_name("first");
  run.set_state(state);
  auto* prepare = run.add_tasks();
  prepare->set_name("prepare");
  prepare->set_title("Prepare the data");
  prepare->set_state(v1::TASK_STATE_SUCCEEDED);
  prepare->mutable_started_at()->set_seconds(100);
  prepare->mutable_finished_at()->set_seconds(104);
  auto* task = run.add_tasks();
  task->set_name("train");
  task->set_title("Train");
  task->set_state(train);
  if (train != v1::TASK_STATE_PENDING) task->mutable_started_at()->set_seconds(104);
  return run;
}

v1::WatchResponse progress(int64_t done) {
  v1::WatchResponse change;
  change.mutable_progress()->set_run_id("run-1");
  change.mutable_progress()->set_task("train");
  auto* value = change.mutable_progress()->mutable_progress();
  value->set_phase("train");
  value->set_done(done);
  value->set_total(40);
  value->set_unit("step");
  value->set_eta_s(90);
  return change;
}

TEST(RunView, ShowsProgressLossAndTimeLeftOfTheRunningTask) {
  RunView view;
  view.set_run(run(v1::RUN_STATE_RUNNING, v1::TASK_STATE_RUNNING));
  EXPECT_TRUE(view.apply(progress(10)));
  v1::WatchResponse metric;
  metric.mutable_metric()->set_run_id("run-1");
  metric.mutable_metric()->set_task("train");
  (*metric.mutable_metric()->mutable_values())["loss"] = 2.5;
  EXPECT_TRUE(view.apply(metric));
  const auto lines = view.lines(164'000, 200);
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_EQ(lines[0], "first (run-1): running");
  EXPECT_EQ(lines[1], " + Prepare the data  succeeded in 4.0 s");
  EXPECT_EQ(lines[2],
            " > Train             running 1 m 0 s  [#####...............] train 10/40 steps, 1 m 30 s left, loss 2.5");
  for (const auto& line : view.lines(164'000, 30)) EXPECT_LT(line.size(), 30U);
}

TEST(RunView, TellsNewsOnceAndProgressByTenths) {
  RunView view;
  view.set_run(run(v1::RUN_STATE_RUNNING, v1::TASK_STATE_PENDING));
  EXPECT_EQ(view.news(), (std::vector<std::string>{"run run-1: running", "prepare: succeeded in 4.0 s"}));
  EXPECT_TRUE(view.news().empty());
  view.set_run(run(v1::RUN_STATE_RUNNING, v1::TASK_STATE_RUNNING));
  view.apply(progress(8));
  EXPECT_EQ(view.news(), (std::vector<std::string>{"train: running", "train: train 8/40 steps, 1 m 30 s left"}));
  view.apply(progress(9));
  EXPECT_TRUE(view.news().empty());
  view.apply(progress(12));
  EXPECT_EQ(view.news().size(), 1U);
}

TEST(RunView, PassesOverOtherRuns) {
  RunView view;
  view.set_run(run(v1::RUN_STATE_RUNNING, v1::TASK_STATE_RUNNING));
  auto other = progress(3);
  other.mutable_progress()->set_run_id("run-2");
  EXPECT_FALSE(view.apply(other));
  v1::WatchResponse change;
  *change.mutable_run() = run(v1::RUN_STATE_FAILED, v1::TASK_STATE_FAILED);
  change.mutable_run()->set_id("run-2");
  EXPECT_FALSE(view.apply(change));
  EXPECT_FALSE(view.ended());
}

TEST(RunView, SumsUpResultsAndTheErrorWithItsAdvice) {
  RunView view;
  auto failed = run(v1::RUN_STATE_FAILED, v1::TASK_STATE_FAILED);
  (*failed.mutable_results())["base_perplexity"] = 12.345;
  failed.mutable_error()->set_task("train");
  failed.mutable_error()->set_code("OUT_OF_MEMORY");
  failed.mutable_error()->set_message("too little memory");
  failed.mutable_error()->set_advice("use a smaller batch");
  view.set_run(failed);
  EXPECT_TRUE(view.ended());
  const auto summary = view.summary();
  for (const char* part : {"base_perplexity  12.35", "error in train: too little memory", "to do: use a smaller batch",
                           "code: OUT_OF_MEMORY"}) {
    EXPECT_NE(summary.find(part), std::string::npos) << summary;
  }
}

}  // namespace
}  // namespace slipway::cli
