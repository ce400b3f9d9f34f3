// The life of a run: start, tasks, gate, registration, deployment; cancel and retry.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <set>

#include "tests/integration/service_runs/backend_fixture.h"

namespace slipway::test {
namespace {

using testing::HasSubstr;
using v1::AttemptStatus;

class Runs : public BackendTest {
 protected:
  // Plays all tasks up to the gate.
  void play_engines(FakeAgent& agent, double base, double tuned) {
    agent.succeed(agent.expect_start("prep"), {{"report.json", "{}"}});
    // Train and the base model's evaluation wait for the same device: in the workflow's order.
    agent.succeed(agent.expect_start("train"));
    agent.succeed(agent.expect_start("eval"), {{"results.json", perplexity_results(base)}});
    agent.succeed(agent.expect_start("eval"), {{"results.json", perplexity_results(tuned)}});
  }
};

TEST_F(Runs, GoFromStartToADeployedModel) {
  auto agent = make_agent();
  agent->connect();
  const v1::Run run = start_fine_tune({{"max_steps", "30"}});
  EXPECT_EQ(run.name(), "perlfaq-on-smollm2");
  EXPECT_EQ(run.created_by(), "admin");
  EXPECT_EQ(run.parameters().at("max_steps"), "30");

  const auto prep = agent->expect_start("prep");
  EXPECT_EQ(prep.device(), "cpu");
  EXPECT_EQ(prep.inputs(0).artifact_id(), "artifact-perlfaq");
  agent->succeed(prep, {{"report.json", "{}"}});
  agent->expect_release(prep.attempt_id());

  const auto train = agent->expect_start("train");
  const auto spec = nlohmann::json::parse(train.spec_json());
  EXPECT_EQ(spec["training"]["max_steps"], 30);
  EXPECT_EQ(spec["model"]["path"], "inputs/model/model.gguf");
  EXPECT_EQ(train.inputs(1).artifact_id(), "artifact-dataset");
  agent->send_state(train.attempt_id(), AttemptStatus::STATE_RUNNING);
  for (int step = 1; step <= 3; ++step) {
    agent->send_event(train.attempt_id(), nlohmann::json{{"seq", step},
                                                         {"time", "2026-01-31T12:00:00.000Z"},
                                                         {"type", "metric"},
                                                         {"step", step},
                                                         {"values", {{"loss", 3.0 - step}, {"learning_rate", 2e-4}}}}
                                              .dump());
  }
  agent->send_event(train.attempt_id(),
                    R"({"seq":4,"type":"progress","phase":"train","done":3,"total":30,"unit":"step","eta_s":27.5})");
  const v1::Run training = get_run(run.id());
  EXPECT_EQ(training.state(), v1::RUN_STATE_RUNNING);
  EXPECT_EQ(task(training, "train").progress().done(), 3);
  EXPECT_EQ(task(training, "evaluate_base").state(), v1::TASK_STATE_QUEUED);
  EXPECT_THAT(task(training, "evaluate_base").waiting_reason(),
              HasSubstr("busy with run perlfaq-on-smollm2, task train"));

  v1::ListMetricsRequest metrics_request;
  v1::ListMetricsResponse metrics;
  metrics_request.set_run_id(run.id());
  metrics_request.add_names("loss");
  ASSERT_TRUE(v1::RunService::NewStub(channel())->ListMetrics(context().get(), metrics_request, &metrics).ok());
  ASSERT_EQ(metrics.series_size(), 1);
  EXPECT_EQ(metrics.series(0).points_size(), 3);
  EXPECT_EQ(metrics.series(0).points(2).value(), 0.0);

  agent->succeed(train);
  const auto base = agent->expect_start("eval");
  agent->succeed(base, {{"results.json", perplexity_results(20.5)}});
  const auto tuned = agent->expect_start("eval");
  EXPECT_EQ(nlohmann::json::parse(tuned.spec_json())["model"]["adapter"], "inputs/adapter");
  agent->succeed(tuned, {{"results.json", perplexity_results(9.25)}});

  const auto serve = agent->expect_start("serve");
  const auto serve_spec = nlohmann::json::parse(serve.spec_json());
  EXPECT_EQ(serve_spec["model"]["served_model_name"], "perlfaq-on-smollm2-base");
  EXPECT_EQ(serve_spec["adapters"][0]["name"], "perlfaq-on-smollm2");
  EXPECT_EQ(serve_spec["listen"], "127.0.0.1:0");
  EXPECT_EQ(get_run(run.id()).state(), v1::RUN_STATE_RUNNING);
  agent->send_state(serve.attempt_id(), AttemptStatus::STATE_RUNNING);
  agent->send_event(serve.attempt_id(), R"({"seq":1,"type":"ready","url":"http://127.0.0.1:4711"})");

  const v1::Run done = wait_for_state(run.id(), v1::RUN_STATE_SUCCEEDED);
  EXPECT_EQ(done.results().at("base_perplexity"), 20.5);
  EXPECT_EQ(done.results().at("tuned_perplexity"), 9.25);
  ASSERT_EQ(registry_.registered().size(), 1U);
  EXPECT_EQ(registry_.registered()[0].artifact_id, "artifact-adapter");
  EXPECT_EQ(registry_.registered()[0].base_version_id, "mv-base");
  EXPECT_EQ(registry_.registered()[0].run_id, run.id());
  EXPECT_EQ(registry_.registered()[0].metrics.at("held_out_perplexity"), 9.25);
  EXPECT_EQ(done.model_version_id(), "mv-tuned-1");

  const v1::Deployment deployment = get_deployment("perlfaq-on-smollm2");
  EXPECT_EQ(deployment.id(), done.deployment_id());
  EXPECT_EQ(deployment.state(), v1::DEPLOYMENT_STATE_READY);
  EXPECT_THAT(std::vector<std::string>(deployment.served_names().begin(), deployment.served_names().end()),
              testing::ElementsAre("perlfaq-on-smollm2", "perlfaq-on-smollm2-base"));
  EXPECT_EQ(*backend_->deployments.find_replica("perlfaq-on-smollm2-base"), "127.0.0.1:4711");

  EXPECT_EQ(log(run.id()).size(), 4U);
  EXPECT_EQ(log(run.id(), "train").size(), 1U);
  EXPECT_EQ(log(run.id(), "", "FROM PREP").size(), 1U);
  int64_t before = 0;
  for (const v1::RunEvent& event : events(run.id())) {
    EXPECT_GT(event.cursor(), before);
    before = event.cursor();
  }
}

TEST_F(Runs, EndAtAGateThatSaysNo) {
  auto agent = make_agent();
  agent->connect();
  const v1::Run run = start_fine_tune();
  play_engines(*agent, 9.0, 9.5);
  const v1::Run ended = wait_for_state(run.id(), v1::RUN_STATE_FAILED);
  EXPECT_EQ(ended.error().code(), "GATE_NOT_PASSED");
  EXPECT_EQ(ended.error().task(), "gate");
  EXPECT_THAT(ended.error().message(), HasSubstr("held-out perplexity is 9.5, not below 9"));
  EXPECT_EQ(task(ended, "register").state(), v1::TASK_STATE_SKIPPED);
  EXPECT_EQ(task(ended, "deploy").state(), v1::TASK_STATE_SKIPPED);
  EXPECT_TRUE(registry_.registered().empty());
  EXPECT_EQ(ended.results().at("tuned_perplexity"), 9.5);
}

TEST_F(Runs, LeaveOutWhatIsNotWanted) {
  auto agent = make_agent();
  agent->connect();
  const v1::Run run = start_fine_tune({{"require_improvement", "false"}, {"deploy", "false"}});
  play_engines(*agent, 9.0, 9.5);
  const v1::Run ended = wait_for_state(run.id(), v1::RUN_STATE_SUCCEEDED);
  EXPECT_EQ(ended.tasks_size(), 5);
  EXPECT_EQ(registry_.registered().size(), 1U);
}

TEST_F(Runs, AnswerEverythingThatIsWrongAtOnce) {
  v1::StartRunRequest request;
  request.set_workflow("fine-tune-and-deploy");
  (*request.mutable_parameters())["model"] = "\"nothing\"";
  (*request.mutable_parameters())["learning_rate"] = "7";
  (*request.mutable_parameters())["unheard_of"] = "1";
  v1::Run run;
  const grpc::Status status = start_run(request, &run);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  std::vector<std::string> fields;
  const v1::ErrorDetail detail = detail_of(status);
  for (const auto& violation : detail.violations()) fields.push_back(violation.field());
  EXPECT_THAT(fields, testing::UnorderedElementsAre("parameters.model", "parameters.learning_rate",
                                                    "parameters.unheard_of", "parameters.dataset"));
}

TEST_F(Runs, CheckNamesBeforeTheyTrain) {
  v1::StartRunRequest request;
  request.set_workflow("fine-tune-and-deploy");
  (*request.mutable_parameters())["model"] = "\"smollm2\"";
  (*request.mutable_parameters())["dataset"] = "\"perlfaq\"";
  (*request.mutable_parameters())["output_model"] = "\"two words\"";
  v1::Run run;
  const grpc::Status status = start_run(request, &run);
  ASSERT_EQ(detail_of(status).violations_size(), 2);
  EXPECT_EQ(detail_of(status).violations(0).field(), "parameters.output_model");
  EXPECT_EQ(detail_of(status).violations(1).field(), "parameters.deployment");
}

TEST_F(Runs, StartOnceForOneKey) {
  v1::StartRunRequest request;
  request.set_workflow("fine-tune-and-deploy");
  request.set_idempotency_key("once");
  (*request.mutable_parameters())["model"] = "\"smollm2\"";
  (*request.mutable_parameters())["dataset"] = "\"perlfaq\"";
  v1::Run first, second, other;
  ASSERT_TRUE(start_run(request, &first).ok());
  ASSERT_TRUE(start_run(request, &second).ok());
  EXPECT_EQ(first.id(), second.id());
  (*request.mutable_parameters())["max_steps"] = "3";
  EXPECT_EQ(start_run(request, &other).error_code(), grpc::StatusCode::ALREADY_EXISTS);
}

TEST_F(Runs, SayWhyTheyWaitWhenNoNodeIsThere) {
  const v1::Run run = start_fine_tune();
  const v1::Run waiting = wait_for_run(
      run.id(), [](const v1::Run& r) { return r.waiting_reason().find("no node has joined") != std::string::npos; });
  EXPECT_EQ(waiting.state(), v1::RUN_STATE_QUEUED);
}

TEST_F(Runs, CancelStopsTheEngineAndRetryGoesOnFromItsFolder) {
  auto agent = make_agent();
  agent->connect();
  const v1::Run run = start_fine_tune();
  agent->succeed(agent->expect_start("prep"));
  const auto train = agent->expect_start("train");
  agent->send_state(train.attempt_id(), AttemptStatus::STATE_RUNNING);

  EXPECT_EQ(cancel_run(run.id()).state(), v1::RUN_STATE_CANCELLING);
  EXPECT_EQ(cancel_run(run.id()).state(), v1::RUN_STATE_CANCELLING);
  const auto stop = agent->expect_stop();
  EXPECT_EQ(stop.attempt_id(), train.attempt_id());
  EXPECT_GT(stop.grace_seconds(), 0);
  AttemptStatus stopped;
  stopped.set_attempt_id(train.attempt_id());
  stopped.set_state(AttemptStatus::STATE_STOPPED);
  stopped.set_exit_code(143);
  agent->send_status(stopped);
  const v1::Run cancelled = wait_for_state(run.id(), v1::RUN_STATE_CANCELLED);
  EXPECT_EQ(task(cancelled, "train").attempts(0).state(), "STOPPED");
  EXPECT_EQ(task(cancelled, "train").attempts(0).exit_code(), 143);
  EXPECT_EQ(task(cancelled, "gate").state(), v1::TASK_STATE_CANCELLED);

  retry_run(run.id());
  const auto again = agent->expect_start("train");
  EXPECT_NE(again.attempt_id(), train.attempt_id());
  EXPECT_EQ(again.work_key(), train.work_key());
  const v1::Run retried = get_run(run.id());
  EXPECT_EQ(task(retried, "prepare").attempts_size(), 1);
  EXPECT_EQ(task(retried, "train").attempts(1).number(), 2);
}

TEST_F(Runs, CancelOfAQueuedRunEndsItAtOnce) {
  const v1::Run run = start_fine_tune();
  EXPECT_EQ(cancel_run(run.id()).state(), v1::RUN_STATE_CANCELLED);
}

TEST_F(Runs, FailWithTheEnginesOwnWords) {
  auto agent = make_agent();
  agent->connect();
  const v1::Run run = start_fine_tune();
  agent->succeed(agent->expect_start("prep"));
  const auto train = agent->expect_start("train");
  agent->send_event(
      train.attempt_id(),
      R"({"seq":1,"type":"error","code":"OUT_OF_MEMORY","message":"step 12","advice":"smaller batches"})");
  AttemptStatus failed;
  failed.set_attempt_id(train.attempt_id());
  failed.set_state(AttemptStatus::STATE_FAILED);
  failed.set_exit_code(1);
  agent->send_status(failed);
  agent->succeed(agent->expect_start("eval"), {{"results.json", perplexity_results(9)}});
  const v1::Run ended = wait_for_state(run.id(), v1::RUN_STATE_FAILED);
  EXPECT_EQ(ended.error().code(), "OUT_OF_MEMORY");
  EXPECT_EQ(ended.error().advice(), "smaller batches");
  EXPECT_EQ(ended.error().task(), "train");
  EXPECT_EQ(task(ended, "evaluate_base").state(), v1::TASK_STATE_SUCCEEDED);
}

TEST_F(Runs, FailWhenAnEngineReturnsNoResult) {
  auto agent = make_agent();
  agent->connect();
  const v1::Run run = start_fine_tune();
  agent->succeed(agent->expect_start("prep"));
  agent->succeed(agent->expect_start("train"));
  agent->succeed(agent->expect_start("eval"), {{"results.json", "{"}});
  agent->succeed(agent->expect_start("eval"), {});
  const v1::Run ended = wait_for_state(run.id(), v1::RUN_STATE_FAILED);
  EXPECT_EQ(ended.error().code(), "RESULT_MISSING");
  EXPECT_THAT(task(ended, "evaluate_base").error().message(), HasSubstr("is not JSON"));
  EXPECT_THAT(task(ended, "evaluate_tuned").error().message(), HasSubstr("did not come back"));
}

TEST_F(Runs, ListPagesAndFilters) {
  for (int i = 0; i < 5; ++i) start_fine_tune();
  const std::string first = start_fine_tune().id();
  cancel_run(first);
  v1::ListRunsRequest request;
  request.mutable_page()->set_page_size(4);
  v1::ListRunsResponse response;
  auto stub = v1::RunService::NewStub(channel());
  ASSERT_TRUE(stub->ListRuns(context().get(), request, &response).ok());
  EXPECT_EQ(response.runs_size(), 4);
  EXPECT_EQ(response.runs(0).id(), first);
  EXPECT_EQ(response.page().total(), 6);
  request.mutable_page()->set_page_token(response.page().next_page_token());
  v1::ListRunsResponse rest;
  ASSERT_TRUE(stub->ListRuns(context().get(), request, &rest).ok());
  EXPECT_EQ(rest.runs_size(), 2);
  v1::ListRunsRequest filtered;
  filtered.mutable_page()->set_filter("perlfaq state:cancelled");
  v1::ListRunsResponse found;
  ASSERT_TRUE(stub->ListRuns(context().get(), filtered, &found).ok());
  EXPECT_EQ(found.runs_size(), 1);
}

TEST_F(Runs, PlansShowWhatWouldHappen) {
  v1::PlanRunRequest request;
  request.set_workflow("fine-tune-and-deploy");
  (*request.mutable_parameters())["model"] = "\"smollm2\"";
  (*request.mutable_parameters())["dataset"] = "\"perlfaq\"";
  (*request.mutable_parameters())["max_steps"] = "30";
  v1::PlanRunResponse plan;
  ASSERT_TRUE(v1::WorkflowService::NewStub(channel())->PlanRun(context().get(), request, &plan).ok());
  EXPECT_EQ(plan.violations_size(), 0);
  EXPECT_EQ(plan.command(),
            "slipway run start fine-tune-and-deploy --model smollm2@1 --dataset perlfaq@1 --max-steps 30");
  EXPECT_EQ(plan.parameters().at("r"), "16");
  std::map<std::string, std::string> consequences;
  for (const auto& consequence : plan.consequences()) consequences[consequence.label()] = consequence.value();
  EXPECT_EQ(consequences["Training"], "30 steps at most, up to 15,360 tokens");
  EXPECT_EQ(consequences["Rows"], "290, about 29 held out");
  EXPECT_EQ(consequences["Devices"], "no node is online: the run will wait");
  EXPECT_EQ(start_fine_tune().waiting_reason().empty(), false);
}

TEST_F(Runs, ASweepStartsThemAllOrNone) {
  auto stub = v1::RunService::NewStub(channel());
  v1::StartSweepRequest request;
  request.set_workflow("fine-tune-and-deploy");
  (*request.mutable_parameters())["model"] = "smollm2";
  (*request.mutable_parameters())["dataset"] = "perlfaq";
  auto* rate = request.add_axes();
  rate->set_parameter("learning_rate");
  rate->add_values("0.0001");
  rate->add_values("0.0003");
  auto* rank = request.add_axes();
  rank->set_parameter("r");
  rank->add_values("4");
  rank->add_values("8");
  request.set_idempotency_key("once");
  v1::StartSweepResponse sweep, again;
  ASSERT_TRUE(stub->StartSweep(context().get(), request, &sweep).ok());
  EXPECT_EQ(sweep.run_ids_size(), 4);
  ASSERT_TRUE(stub->StartSweep(context().get(), request, &again).ok());
  EXPECT_EQ(again.sweep_id(), sweep.sweep_id());
  v1::ListRunsRequest list;
  list.mutable_page()->set_filter("sweep:" + sweep.sweep_id());
  v1::ListRunsResponse runs;
  ASSERT_TRUE(stub->ListRuns(context().get(), list, &runs).ok());
  ASSERT_EQ(runs.runs_size(), 4);
  std::set<std::string> names;
  for (const v1::Run& run : runs.runs()) {
    names.insert(run.name() + " " + run.parameters().at("learning_rate") + " " + run.parameters().at("r"));
  }
  EXPECT_THAT(names, testing::ElementsAre("perlfaq-on-smollm2-1 0.0001 4", "perlfaq-on-smollm2-2 0.0001 8",
                                          "perlfaq-on-smollm2-3 0.0003 4", "perlfaq-on-smollm2-4 0.0003 8"));

  request.set_idempotency_key("");
  rank->add_values("100000");
  EXPECT_EQ(stub->StartSweep(context().get(), request, &again).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  ASSERT_TRUE(stub->ListRuns(context().get(), {}, &runs).ok());
  EXPECT_EQ(runs.runs_size(), 4);
}

TEST_F(Runs, AnEstimateMeasuresOnceAndIsToldOnTheRun) {
  auto agent = make_agent();
  agent->connect();
  auto stub = v1::RunService::NewStub(channel());
  v1::EstimateRunRequest request;
  request.set_workflow("fine-tune-and-deploy");
  (*request.mutable_parameters())["model"] = "smollm2";
  (*request.mutable_parameters())["dataset"] = "perlfaq";
  v1::Run estimate, again;
  ASSERT_TRUE(stub->EstimateRun(context().get(), request, &estimate).ok());
  EXPECT_TRUE(estimate.estimate());
  EXPECT_EQ(estimate.tasks_size(), 2);
  agent->succeed(agent->expect_start("prep"), {{"report.json", "{}"}});
  const auto train = agent->expect_start("train");
  EXPECT_TRUE(train.plan());
  EXPECT_EQ(train.upload_artifacts_size(), 0);
  agent->succeed(train, {{"stdout.log", "{\n  \"duration_s\": 12.5,\n  \"fits\": true,\n  \"advice\": \"\"\n}\n"}});
  const auto measured = wait_for_state(estimate.id(), v1::RUN_STATE_SUCCEEDED);
  EXPECT_DOUBLE_EQ(measured.results().at("duration_s"), 12.5);
  EXPECT_DOUBLE_EQ(measured.results().at("fits"), 1);
  // Another name of the result changes nothing of the training.
  (*request.mutable_parameters())["output_model"] = "\"other\"";
  ASSERT_TRUE(stub->EstimateRun(context().get(), request, &again).ok());
  EXPECT_EQ(again.id(), estimate.id());
  (*request.mutable_parameters())["r"] = "4";
  ASSERT_TRUE(stub->EstimateRun(context().get(), request, &again).ok());
  EXPECT_NE(again.id(), estimate.id());
  cancel_run(again.id());

  EXPECT_DOUBLE_EQ(start_fine_tune().predictions().at("duration_s"), 12.5);
  v1::ListRunsResponse runs;
  ASSERT_TRUE(stub->ListRuns(context().get(), {}, &runs).ok());
  EXPECT_EQ(runs.runs_size(), 1) << "estimates are in no list";
}

TEST_F(Runs, StopAndKeepEndsTheTrainingEarly) {
  auto agent = make_agent();
  agent->connect();
  const v1::Run run = start_fine_tune();
  auto stub = v1::RunService::NewStub(channel());
  v1::CancelRunRequest keep;
  keep.set_id(run.id());
  keep.set_keep(true);
  v1::Run answer;
  EXPECT_EQ(stub->CancelRun(context().get(), keep, &answer).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  agent->succeed(agent->expect_start("prep"), {{"report.json", "{}"}});
  const auto train = agent->expect_start("train");
  agent->send_state(train.attempt_id(), AttemptStatus::STATE_RUNNING);
  agent->send_event(train.attempt_id(), R"({"type":"metric","step":1,"values":{"loss":2.5}})");
  ASSERT_TRUE(stub->CancelRun(context().get(), keep, &answer).ok());
  EXPECT_EQ(answer.state(), v1::RUN_STATE_RUNNING);
  const auto stop = agent->expect_stop();
  EXPECT_TRUE(stop.keep());
  EXPECT_EQ(stop.attempt_id(), train.attempt_id());

  v1::CompareMetricsRequest compare;
  compare.add_run_ids(run.id());
  compare.set_name("loss");
  v1::CompareMetricsResponse series;
  ASSERT_TRUE(stub->CompareMetrics(context().get(), compare, &series).ok());
  ASSERT_EQ(series.series_size(), 1);
  EXPECT_DOUBLE_EQ(series.series(0).series().points(0).value(), 2.5);
}

TEST_F(Runs, NeedASignIn) {
  grpc::ClientContext nobody;
  v1::GetRunRequest request;
  v1::Run run;
  EXPECT_EQ(v1::RunService::NewStub(channel())->GetRun(&nobody, request, &run).error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
}

}  // namespace
}  // namespace slipway::test
