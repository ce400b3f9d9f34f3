// Attempts of several ranks over several nodes: placed whole, met, and tried again when a rank is lost.
#include <gmock/gmock.h>

#include "tests/integration/service_runs/backend_fixture.h"

namespace slipway::test {
namespace {

using v1::AttemptStatus;

class Gangs : public BackendTest {
 protected:
  void SetUp() override {
    BackendTest::SetUp();
    first_ = make_agent("first");
    second_ = make_agent("second");
    first_->connect();
    second_->connect();
  }
  // A fine-tuning of two ranks on two nodes, up to where its training is given out: rank 0's order and rank 1's.
  std::pair<v1::StartAttempt, v1::StartAttempt> start_training() {
    run_ = start_fine_tune({{"ranks", "2"}, {"nodes", "2"}, {"deploy", "false"}, {"require_improvement", "false"}});
    first_->succeed(first_->expect_start("prep"));
    return expect_gang();
  }
  // The base model's evaluation has waited since before the training's next attempt; the second node was free first.
  std::pair<v1::StartAttempt, v1::StartAttempt> expect_gang_after_evaluation() {
    second_->succeed(second_->expect_start("eval"), {{"results.json", perplexity_results(9)}});
    return expect_gang();
  }
  std::pair<v1::StartAttempt, v1::StartAttempt> expect_gang() {
    auto one = first_->expect_start("train"), other = second_->expect_start("train");
    return one.gang().rank() == 0 ? std::pair{one, other} : std::pair{other, one};
  }
  void prepare(FakeAgent& agent, const v1::StartAttempt& start, const std::string& meeting) {
    AttemptStatus status;
    status.set_attempt_id(start.attempt_id());
    status.set_state(AttemptStatus::STATE_PREPARED);
    status.set_meeting(meeting);
    agent.send_status(status);
  }
  void meet(const v1::StartAttempt& leader, const v1::StartAttempt& other) {
    prepare(*first_, leader, "10.0.0.1:4001");
    prepare(*second_, other, "10.0.0.2:4002");
    EXPECT_EQ(first_->expect_meet(leader.attempt_id()), "10.0.0.1:4001");
    EXPECT_EQ(second_->expect_meet(other.attempt_id()), "10.0.0.1:4001");
    first_->send_state(leader.attempt_id(), AttemptStatus::STATE_RUNNING);
    second_->send_state(other.attempt_id(), AttemptStatus::STATE_RUNNING);
  }

  std::unique_ptr<FakeAgent> first_, second_;
  v1::Run run_;
};

TEST_F(Gangs, MeetWhenAllArePreparedAndShowTheirRanks) {
  const auto [leader, other] = start_training();
  EXPECT_EQ(leader.gang().size(), 2);
  EXPECT_EQ(leader.gang().local_size(), 1);
  EXPECT_EQ(other.gang().rank(), 1);
  EXPECT_EQ(other.upload_artifacts_size(), 0) << "what comes of it is rank 0's";
  EXPECT_NE(leader.work_key(), other.work_key());
  EXPECT_EQ(leader.restarts(), 0);
  meet(leader, other);
  second_->send_lines(other.attempt_id(), "stdout", {"from the second"});
  const auto run = wait_for_run(run_.id(), [](const v1::Run& r) {
    const auto& attempts = task(r, "train").attempts();
    return attempts.size() == 1 && attempts[0].ranks_size() == 2 && attempts[0].ranks(1).state() == "RUNNING";
  });
  EXPECT_EQ(task(run, "train").attempts(0).ranks(1).node_id(), second_->node_id());
  const auto lines = log(run_.id(), "train");
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0].rank(), 1);

  first_->succeed(leader);
  second_->send_state(other.attempt_id(), AttemptStatus::STATE_SUCCEEDED);
  wait_for_run(run_.id(), [](const v1::Run& r) { return task(r, "train").state() == v1::TASK_STATE_SUCCEEDED; });
  second_->expect_release(other.attempt_id());
}

TEST_F(Gangs, ALostRankEndsAllAndTheTaskIsTriedAgainOnTheSameFolders) {
  const auto [leader, other] = start_training();
  meet(leader, other);
  AttemptStatus killed;
  killed.set_attempt_id(other.attempt_id());
  killed.set_state(AttemptStatus::STATE_FAILED);
  killed.set_signal(9);
  killed.set_code("ENGINE_KILLED");
  killed.set_message("the engine was ended by signal 9");
  second_->send_status(killed);
  EXPECT_EQ(first_->expect_stop().attempt_id(), leader.attempt_id());
  first_->send_event(leader.attempt_id(),
                     R"({"type":"error","code":"RANK_LOST","message":"rank 1 of 2 is lost","advice":""})");
  first_->send_state(leader.attempt_id(), AttemptStatus::STATE_FAILED);
  const auto [again, other_again] = expect_gang_after_evaluation();
  EXPECT_EQ(again.work_key(), leader.work_key()) << "rank 0 finds its checkpoints";
  EXPECT_EQ(other_again.work_key(), other.work_key());
  EXPECT_NE(other_again.attempt_id(), other.attempt_id());
  const auto run = get_run(run_.id());
  ASSERT_EQ(task(run, "train").attempts_size(), 2);
  EXPECT_EQ(task(run, "train").attempts(0).state(), "LOST");
  EXPECT_EQ(task(run, "train").state(), v1::TASK_STATE_RUNNING);
}

TEST_F(Gangs, ARankThatCannotPrepareEndsTheOthersBeforeTheyStart) {
  const auto [leader, other] = start_training();
  prepare(*first_, leader, "10.0.0.1:4001");
  AttemptStatus failed;
  failed.set_attempt_id(other.attempt_id());
  failed.set_state(AttemptStatus::STATE_FAILED);
  failed.set_code("DISK_FULL");
  failed.set_message("no room");
  second_->send_status(failed);
  EXPECT_EQ(first_->expect_stop().attempt_id(), leader.attempt_id());
  first_->send_state(leader.attempt_id(), AttemptStatus::STATE_STOPPED);
  expect_gang_after_evaluation();
  const auto run = get_run(run_.id());
  EXPECT_EQ(task(run, "train").attempts(0).state(), "LOST");
}

TEST_F(Gangs, AFaultOfTheWorkIsNotTriedAgain) {
  const auto [leader, other] = start_training();
  meet(leader, other);
  first_->send_event(leader.attempt_id(), R"({"type":"error","code":"INVALID_DATA","message":"line 17","advice":""})");
  first_->send_state(leader.attempt_id(), AttemptStatus::STATE_FAILED);
  const auto run =
      wait_for_run(run_.id(), [](const v1::Run& r) { return task(r, "train").state() == v1::TASK_STATE_FAILED; });
  EXPECT_EQ(task(run, "train").error().code(), "INVALID_DATA");
  EXPECT_EQ(second_->expect_stop().attempt_id(), other.attempt_id());
}

TEST_F(Gangs, CancellingStopsEveryRank) {
  const auto [leader, other] = start_training();
  meet(leader, other);
  cancel_run(run_.id());
  EXPECT_EQ(first_->expect_stop().attempt_id(), leader.attempt_id());
  EXPECT_EQ(second_->expect_stop().attempt_id(), other.attempt_id());
  second_->send_state(other.attempt_id(), AttemptStatus::STATE_STOPPED);
  first_->send_state(leader.attempt_id(), AttemptStatus::STATE_STOPPED);
  wait_for_state(run_.id(), v1::RUN_STATE_CANCELLED);
}

TEST_F(Gangs, RanksMustSpreadEvenly) {
  v1::StartRunRequest request;
  request.set_workflow("fine-tune-and-deploy");
  for (const auto& [name, value] : std::map<std::string, std::string>{
           {"model", "smollm2"}, {"dataset", "perlfaq"}, {"ranks", "3"}, {"nodes", "2"}}) {
    (*request.mutable_parameters())[name] = value;
  }
  v1::Run run;
  const auto refused = start_run(request, &run);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(refused.error_message(), testing::HasSubstr("3 ranks cannot be spread evenly over 2 nodes"));
}

}  // namespace
}  // namespace slipway::test
