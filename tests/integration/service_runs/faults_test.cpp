// What happens when agents and backend die and come back.
#include <gmock/gmock.h>

#include <atomic>

#include "tests/integration/service_runs/backend_fixture.h"

namespace slipway::test {
namespace {

using v1::AttemptStatus;

AttemptStatus status_of(const v1::StartAttempt& start, AttemptStatus::State state) {
  AttemptStatus status;
  status.set_attempt_id(start.attempt_id());
  status.set_state(state);
  return status;
}

class Faults : public BackendTest {};

TEST_F(Faults, LinesSentAgainAreStoredOnce) {
  auto agent = make_agent();
  agent->connect();
  const v1::Run run = start_fine_tune();
  const auto prep = agent->expect_start("prep");
  const std::string& id = prep.attempt_id();
  agent->send_state(id, AttemptStatus::STATE_RUNNING);
  const int64_t middle = agent->send_lines(id, "stdout", {"one", "two"});
  const int64_t end = agent->send_lines(id, "stdout", {"three"});
  agent->send_event(id, R"({"seq":1,"type":"warning","code":"X","message":"m","advice":"a"})");

  const auto welcome = agent->connect({status_of(prep, AttemptStatus::STATE_RUNNING)});
  std::map<std::string, int64_t> positions;
  for (const auto& position : welcome.positions()) positions[position.file()] = position.end_offset();
  EXPECT_EQ(positions.at("stdout"), end);
  EXPECT_EQ(positions.at("stderr"), 0);

  agent->send_lines(id, "stdout", {"one", "two"}, 0);
  agent->send_lines(id, "stdout", {"three"}, middle);
  agent->send_lines(id, "stdout", {"two", "three", "four"}, 4);  // begins before what is stored, ends after
  agent->send_lines(id, "events", {R"({"seq":1,"type":"warning","code":"X","message":"m","advice":"a"})"}, 0);
  std::vector<std::string> texts;
  for (const auto& line : log(run.id())) {
    EXPECT_EQ(line.number(), static_cast<int64_t>(texts.size()));
    texts.push_back(line.text());
  }
  EXPECT_EQ(texts, (std::vector<std::string>{"one", "two", "three", "four"}));
  int warnings = 0;
  for (const auto& event : events(run.id())) warnings += event.type() == "warning" ? 1 : 0;
  EXPECT_EQ(warnings, 1);
}

TEST_F(Faults, TheRunGoesOnAfterTheBackendsRestart) {
  auto agent = make_agent();
  agent->connect();
  const v1::Run run = start_fine_tune({{"deploy", "false"}});
  const auto prep = agent->expect_start("prep");
  agent->send_state(prep.attempt_id(), AttemptStatus::STATE_RUNNING);
  agent->send_lines(prep.attempt_id(), "stdout", {"before"});

  agent->disconnect();
  restart_backend();
  EXPECT_EQ(get_run(run.id()).state(), v1::RUN_STATE_RUNNING);
  agent->connect({status_of(prep, AttemptStatus::STATE_RUNNING)}, channel());
  agent->succeed(prep);
  agent->succeed(agent->expect_start("train"));

  // Again, with an attempt that ended while the backend was away.
  const auto base = agent->expect_start("eval");
  agent->disconnect();
  restart_backend();
  AttemptStatus ended = status_of(base, AttemptStatus::STATE_SUCCEEDED);
  (*ended.mutable_returned_files())["results.json"] = perplexity_results(20);
  agent->connect({ended}, channel());
  agent->expect_release(base.attempt_id());
  agent->succeed(agent->expect_start("eval"), {{"results.json", perplexity_results(10)}});
  const v1::Run done = wait_for_state(run.id(), v1::RUN_STATE_SUCCEEDED);
  for (const v1::Task& each : done.tasks()) EXPECT_LE(each.attempts_size(), 1) << each.name();
}

TEST_F(Faults, AnOrderThatNeverArrivedIsGivenAgain) {
  auto agent = make_agent();
  agent->connect();
  start_fine_tune();
  const auto lost = agent->expect_start("prep");
  const auto welcome = agent->connect();  // the agent died before it wrote the order down
  EXPECT_EQ(welcome.positions_size(), 0);
  EXPECT_EQ(agent->expect_start("prep").attempt_id(), lost.attempt_id());
}

TEST_F(Faults, AnAttemptThatTheNodeForgotIsTriedAgainButNotForEver) {
  auto agent = make_agent();
  agent->connect();
  const v1::Run run = start_fine_tune();
  for (int tries = 1; tries <= 4; ++tries) {
    const auto prep = agent->expect_start("prep");
    agent->send_state(prep.attempt_id(), AttemptStatus::STATE_RUNNING);
    agent->send_lines(prep.attempt_id(), "stdout", {"alive"});
    agent->connect();
  }
  const v1::Run ended = wait_for_state(run.id(), v1::RUN_STATE_FAILED);
  EXPECT_EQ(task(ended, "prepare").attempts_size(), 4);
  EXPECT_EQ(task(ended, "prepare").attempts(0).state(), "LOST");
  EXPECT_EQ(ended.error().code(), "ATTEMPT_LOST");
}

TEST_F(Faults, AnAttemptThatEndedHereIsStoppedThere) {
  auto agent = make_agent();
  agent->connect();
  const v1::Run run = start_fine_tune();
  const auto prep = agent->expect_start("prep");
  agent->send_state(prep.attempt_id(), AttemptStatus::STATE_RUNNING);
  agent->send_lines(prep.attempt_id(), "stdout", {"alive"});
  agent->connect();  // forgotten: lost
  const auto second = agent->expect_start("prep");
  agent->connect({status_of(prep, AttemptStatus::STATE_RUNNING), status_of(second, AttemptStatus::STATE_RUNNING)});
  EXPECT_EQ(agent->expect_stop().attempt_id(), prep.attempt_id());
  // What is unknown altogether may go.
  agent->connect({status_of(second, AttemptStatus::STATE_RUNNING), [] {
                    AttemptStatus unknown;
                    unknown.set_attempt_id("attempt-of-another-life");
                    return unknown;
                  }()});
  agent->expect_release("attempt-of-another-life");
  EXPECT_EQ(task(get_run(run.id()), "prepare").attempts_size(), 2);
}

TEST_F(Faults, ACancelReachesAnAgentThatWasAway) {
  auto agent = make_agent();
  agent->connect();
  const v1::Run run = start_fine_tune();
  const auto prep = agent->expect_start("prep");
  agent->disconnect();
  cancel_run(run.id());
  agent->connect({status_of(prep, AttemptStatus::STATE_RUNNING)});
  EXPECT_EQ(agent->expect_stop().attempt_id(), prep.attempt_id());
}

class SlowTime : public BackendTest {
 protected:
  void SetUp() override {
    used_clock_ = &fake_clock_;
    BackendTest::SetUp();
  }
  base::FakeClock fake_clock_;
};

TEST_F(SlowTime, ANodeGoesOfflineThenItsAttemptsAreGivenToAnother) {
  auto agent = make_agent("first");
  agent->connect();
  const v1::Run run = start_fine_tune();
  const auto prep = agent->expect_start("prep");
  agent->send_state(prep.attempt_id(), AttemptStatus::STATE_RUNNING);
  agent->send_lines(prep.attempt_id(), "stdout", {"alive"});
  agent->disconnect();

  Watcher watcher(channel(), cookie_, {});
  watcher.next([](const v1::WatchResponse&) { return true; });
  fake_clock_.advance_ms(16'000);
  backend_->nodes.wake();
  const auto offline = watcher.next([](const v1::WatchResponse& response) { return response.has_node(); });
  EXPECT_EQ(offline.node().state(), v1::NODE_STATE_OFFLINE);
  EXPECT_EQ(task(get_run(run.id()), "prepare").attempts(0).state(), "RUNNING");  // it may come back

  fake_clock_.advance_ms(31 * 60 * 1000);
  auto other = make_agent("second");
  other->connect();
  backend_->nodes.wake();
  other->expect_start("prep");
  const v1::Run moved = get_run(run.id());
  EXPECT_EQ(task(moved, "prepare").attempts(0).state(), "LOST");
  EXPECT_EQ(task(moved, "prepare").attempts(1).node_id(), other->node_id());
}

TEST_F(SlowTime, ADeploymentIsUnreachableWhileItsNodeIsOffline) {
  auto agent = make_agent("first");
  agent->connect();
  v1::CreateDeploymentRequest request;
  request.set_name("small");
  request.set_model_version_id("smollm2");
  v1::Deployment deployment;
  ASSERT_TRUE(v1::DeploymentService::NewStub(channel())->CreateDeployment(context().get(), request, &deployment).ok());
  const auto serve = agent->expect_start("serve");
  agent->send_state(serve.attempt_id(), AttemptStatus::STATE_RUNNING);
  agent->send_event(serve.attempt_id(), R"({"type":"ready","url":"http://127.0.0.1:1111"})");
  wait_for_deployment(deployment.id(), v1::DEPLOYMENT_STATE_READY);
  agent->disconnect();
  fake_clock_.advance_ms(16'000);
  backend_->nodes.wake();
  const auto away = wait_for_deployment(deployment.id(), v1::DEPLOYMENT_STATE_UNREACHABLE);
  EXPECT_THAT(away.waiting_reason(), testing::HasSubstr("first is offline"));
  // The engine may well be there: calls are tried.
  EXPECT_TRUE(backend_->deployments.find_replica("small").ok());
  v1::AttemptStatus running;
  running.set_attempt_id(serve.attempt_id());
  running.set_state(AttemptStatus::STATE_RUNNING);
  agent->connect({running});
  wait_for_deployment(deployment.id(), v1::DEPLOYMENT_STATE_READY);
}

TEST_F(Faults, ForeignTokensAndUsedOnesAreRefused) {
  EXPECT_THROW(FakeAgent(channel(), "wrong"), std::runtime_error);
  v1::CreateJoinTokenResponse token;
  ASSERT_TRUE(v1::NodeService::NewStub(channel())->CreateJoinToken(context().get(), {}, &token).ok());
  FakeAgent once(channel(), token.join_token());
  EXPECT_THROW(FakeAgent(channel(), token.join_token()), std::runtime_error);
}

}  // namespace
}  // namespace slipway::test
