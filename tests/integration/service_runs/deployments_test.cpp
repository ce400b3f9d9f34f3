// Deployments by hand: start, ready, crash, stop, start again, change of version, delete; and their keys.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "tests/integration/service_runs/backend_fixture.h"

namespace slipway::test {
namespace {

using v1::AttemptStatus;

class Deployments : public BackendTest {
 protected:
  grpc::Status create(const std::string& name, const std::string& version, v1::Deployment* deployment) {
    v1::CreateDeploymentRequest request;
    request.set_name(name);
    request.set_model_version_id(version);
    return v1::DeploymentService::NewStub(channel())->CreateDeployment(context().get(), request, deployment);
  }
  void make_ready(FakeAgent& agent, const v1::StartAttempt& serve, const std::string& url) {
    agent.send_state(serve.attempt_id(), AttemptStatus::STATE_RUNNING);
    agent.send_event(serve.attempt_id(), R"({"type":"started"})");
    agent.send_event(serve.attempt_id(), R"({"type":"ready","url":")" + url + "\"}");
  }
};

TEST_F(Deployments, ServeABaseModelUntilStopped) {
  auto agent = make_agent();
  agent->connect();
  v1::Deployment deployment;
  ASSERT_TRUE(create("small", "smollm2", &deployment).ok());
  EXPECT_EQ(deployment.model_label(), "smollm2@1");
  EXPECT_EQ(backend_->deployments.find_replica("small").status().code(), absl::StatusCode::kUnavailable);
  const auto serve = agent->expect_start("serve");
  make_ready(*agent, serve, "http://127.0.0.1:1111/");
  wait_for_deployment(deployment.id(), v1::DEPLOYMENT_STATE_READY);
  EXPECT_EQ(*backend_->deployments.find_replica("small"), "127.0.0.1:1111");

  // The engine crashed and the agent started it again, on another port.
  agent->send_event(serve.attempt_id(), R"({"type":"started"})");
  EXPECT_EQ(get_deployment("small").state(), v1::DEPLOYMENT_STATE_STARTING);
  agent->send_event(serve.attempt_id(), R"({"type":"ready","url":"http://127.0.0.1:2222"})");
  EXPECT_EQ(*backend_->deployments.find_replica("small"), "127.0.0.1:2222");

  auto stub = v1::DeploymentService::NewStub(channel());
  v1::StopDeploymentRequest stop;
  stop.set_id("small");
  v1::Deployment stopped;
  ASSERT_TRUE(stub->StopDeployment(context().get(), stop, &stopped).ok());
  EXPECT_EQ(stopped.state(), v1::DEPLOYMENT_STATE_STOPPING);
  EXPECT_EQ(agent->expect_stop().attempt_id(), serve.attempt_id());
  agent->send_state(serve.attempt_id(), AttemptStatus::STATE_SUCCEEDED);
  agent->expect_release(serve.attempt_id());
  wait_for_deployment(deployment.id(), v1::DEPLOYMENT_STATE_STOPPED);

  v1::StartDeploymentRequest start;
  start.set_id("small");
  v1::Deployment started;
  ASSERT_TRUE(stub->StartDeployment(context().get(), start, &started).ok());
  EXPECT_NE(agent->expect_start("serve").attempt_id(), serve.attempt_id());
}

TEST_F(Deployments, ShareTheCpuWithTasks) {
  auto agent = make_agent();
  agent->connect();
  v1::Deployment first, second;
  ASSERT_TRUE(create("one", "smollm2", &first).ok());
  ASSERT_TRUE(create("two", "smollm2", &second).ok());
  agent->expect_start("serve");
  agent->expect_start("serve");
  start_fine_tune();
  agent->expect_start("prep");
}

TEST_F(Deployments, AFailureShowsAndCanBeStartedAgain) {
  auto agent = make_agent();
  agent->connect();
  v1::Deployment deployment;
  ASSERT_TRUE(create("small", "smollm2", &deployment).ok());
  const auto serve = agent->expect_start("serve");
  agent->send_event(serve.attempt_id(),
                    R"({"type":"error","code":"INVALID_MODEL","message":"no tensor","advice":"import again"})");
  agent->send_state(serve.attempt_id(), AttemptStatus::STATE_FAILED);
  const auto failed = wait_for_deployment(deployment.id(), v1::DEPLOYMENT_STATE_FAILED);
  EXPECT_EQ(failed.error().code(), "INVALID_MODEL");
  v1::StartDeploymentRequest start;
  start.set_id("small");
  v1::Deployment started;
  ASSERT_TRUE(v1::DeploymentService::NewStub(channel())->StartDeployment(context().get(), start, &started).ok());
  EXPECT_FALSE(started.has_error());
  agent->expect_start("serve");
}

TEST_F(Deployments, AReplicaThatIsLostIsReplaced) {
  auto agent = make_agent();
  agent->connect();
  v1::Deployment deployment;
  ASSERT_TRUE(create("small", "smollm2", &deployment).ok());
  const auto serve = agent->expect_start("serve");
  make_ready(*agent, serve, "http://127.0.0.1:1111");
  agent->connect();  // knows nothing any more
  EXPECT_NE(agent->expect_start("serve").attempt_id(), serve.attempt_id());
  EXPECT_NE(get_deployment("small").state(), v1::DEPLOYMENT_STATE_READY);
}

TEST_F(Deployments, SurviveTheBackendsRestart) {
  auto agent = make_agent();
  agent->connect();
  v1::Deployment deployment;
  ASSERT_TRUE(create("small", "smollm2", &deployment).ok());
  const auto serve = agent->expect_start("serve");
  make_ready(*agent, serve, "http://127.0.0.1:1111");
  agent->disconnect();
  restart_backend();
  EXPECT_EQ(*backend_->deployments.find_replica("small"), "127.0.0.1:1111");
}

TEST_F(Deployments, NamesAreUniqueAndChecked) {
  v1::Deployment deployment;
  ASSERT_TRUE(create("tuned", "mv-tuned-1", &deployment).ok());
  EXPECT_EQ(create("tuned", "smollm2", &deployment).error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(create("tuned-base", "smollm2", &deployment).error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(detail_of(create("no good", "", &deployment)).violations_size(), 2);
  EXPECT_EQ(create("other", "nothing", &deployment).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(Deployments, AdaptersAreLoadedIntoEveryReadyReplica) {
  auto agent = make_agent();
  agent->connect();
  v1::Deployment deployment;
  ASSERT_TRUE(create("small", "smollm2", &deployment).ok());
  auto stub = v1::DeploymentService::NewStub(channel());
  v1::LoadAdapterRequest load;
  load.set_deployment_id("small");
  load.set_name("faq");
  load.set_model_version_id("mv-tuned-1");
  ASSERT_TRUE(stub->LoadAdapter(context().get(), load, &deployment).ok());
  EXPECT_EQ(deployment.adapters(0).state(), v1::DeploymentAdapter::STATE_WAITING);

  const auto serve = agent->expect_start("serve");
  make_ready(*agent, serve, "http://127.0.0.1:1111");
  auto wanted = agent->expect_set_adapters(serve.attempt_id());
  ASSERT_EQ(wanted.adapters_size(), 1);
  EXPECT_EQ(wanted.adapters(0).artifact_id(), "artifact-adapter");
  EXPECT_EQ(get_deployment("small").adapters(0).state(), v1::DeploymentAdapter::STATE_LOADING);
  v1::AdaptersReport report;
  report.set_attempt_id(serve.attempt_id());
  report.add_loaded("faq");
  Watcher watcher(channel(), cookie_, {});
  watcher.next([](const v1::WatchResponse&) { return true; });
  agent->send_adapters(report);
  watcher.next([](const v1::WatchResponse& r) {
    return r.has_deployment() && r.deployment().adapters_size() == 1 &&
           r.deployment().adapters(0).state() == v1::DeploymentAdapter::STATE_LOADED;
  });
  EXPECT_EQ(*backend_->deployments.find_replica("faq"), "127.0.0.1:1111");

  // An engine that was started again has none of them.
  agent->send_event(serve.attempt_id(), R"({"type":"started"})");
  agent->send_event(serve.attempt_id(), R"({"type":"ready","url":"http://127.0.0.1:2222"})");
  EXPECT_EQ(agent->expect_set_adapters(serve.attempt_id()).adapters_size(), 1);
  report.clear_loaded();
  report.add_failures()->set_name("faq");
  report.mutable_failures(0)->set_code("ADAPTER_NOT_LOADED");
  agent->send_adapters(report);
  const auto failed = watcher.next([](const v1::WatchResponse& r) {
    return r.has_deployment() && r.deployment().adapters(0).state() == v1::DeploymentAdapter::STATE_FAILED;
  });
  EXPECT_EQ(failed.deployment().adapters(0).error().code(), "ADAPTER_NOT_LOADED");

  v1::UnloadAdapterRequest unload;
  unload.set_deployment_id("small");
  unload.set_name("faq");
  ASSERT_TRUE(stub->UnloadAdapter(context().get(), unload, &deployment).ok());
  EXPECT_EQ(agent->expect_set_adapters(serve.attempt_id()).adapters_size(), 0);
  EXPECT_EQ(stub->UnloadAdapter(context().get(), unload, &deployment).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(Deployments, AnAdaptersTasksHaveANameEachAndGoTogether) {
  auto agent = make_agent();
  agent->connect();
  v1::Deployment deployment;
  ASSERT_TRUE(create("small", "smollm2", &deployment).ok());
  const auto serve = agent->expect_start("serve");
  make_ready(*agent, serve, "http://127.0.0.1:1111");
  auto stub = v1::DeploymentService::NewStub(channel());
  v1::LoadAdapterRequest load;
  load.set_deployment_id("small");
  load.set_name("duties");
  load.set_model_version_id("mv-tuned-tasks");
  ASSERT_TRUE(stub->LoadAdapter(context().get(), load, &deployment).ok());
  ASSERT_EQ(deployment.adapters_size(), 1);
  EXPECT_EQ(deployment.adapters(0).served_names_size(), 3);
  EXPECT_EQ(create("duties-task-2", "smollm2", &deployment).error_code(), grpc::StatusCode::ALREADY_EXISTS);
  auto wanted = agent->expect_set_adapters(serve.attempt_id());
  ASSERT_EQ(wanted.adapters_size(), 3);
  EXPECT_EQ(wanted.adapters(2).name(), "duties-task-2");
  EXPECT_EQ(wanted.adapters(2).task_id(), 2);

  // Loaded when all of them are.
  Watcher watcher(channel(), cookie_, {});
  watcher.next([](const v1::WatchResponse&) { return true; });
  v1::AdaptersReport report;
  report.set_attempt_id(serve.attempt_id());
  for (const char* name : {"duties", "duties-task-1"}) report.add_loaded(name);
  agent->send_adapters(report);
  watcher.next([](const v1::WatchResponse& r) {
    return r.has_deployment() && r.deployment().adapters_size() == 1 &&
           r.deployment().adapters(0).state() == v1::DeploymentAdapter::STATE_LOADING;
  });
  report.add_loaded("duties-task-2");
  agent->send_adapters(report);
  watcher.next([](const v1::WatchResponse& r) {
    return r.has_deployment() && r.deployment().adapters_size() == 1 &&
           r.deployment().adapters(0).state() == v1::DeploymentAdapter::STATE_LOADED;
  });
  EXPECT_EQ(*backend_->deployments.find_replica("duties-task-1"), "127.0.0.1:1111");

  v1::UnloadAdapterRequest unload;
  unload.set_deployment_id("small");
  unload.set_name("duties");
  ASSERT_TRUE(stub->UnloadAdapter(context().get(), unload, &deployment).ok());
  EXPECT_EQ(agent->expect_set_adapters(serve.attempt_id()).adapters_size(), 0);
  EXPECT_FALSE(backend_->deployments.find_replica("duties-task-1").ok());
}

TEST_F(Deployments, AdaptersMustFitAndHaveNamesOfTheirOwn) {
  v1::Deployment deployment;
  ASSERT_TRUE(create("small", "smollm2", &deployment).ok());
  auto stub = v1::DeploymentService::NewStub(channel());
  const auto load = [&](const std::string& name, const std::string& version) {
    v1::LoadAdapterRequest request;
    request.set_deployment_id("small");
    request.set_name(name);
    request.set_model_version_id(version);
    return stub->LoadAdapter(context().get(), request, &deployment).error_code();
  };
  EXPECT_EQ(load("faq", "smollm2"), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(load("no good", "mv-tuned-1"), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(load("small", "mv-tuned-1"), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(load("faq", "mv-tuned-1"), grpc::StatusCode::OK);
  EXPECT_EQ(load("faq", "mv-tuned-1"), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(create("faq", "smollm2", &deployment).error_code(), grpc::StatusCode::ALREADY_EXISTS);
}

TEST_F(Deployments, WhatTheyMeasureIsStoredAndStreamed) {
  auto agent = make_agent();
  agent->connect();
  v1::Deployment deployment;
  ASSERT_TRUE(create("small", "smollm2", &deployment).ok());
  const auto serve = agent->expect_start("serve");
  make_ready(*agent, serve, "http://127.0.0.1:1111");
  v1::WatchRequest request;
  request.set_deployment_id(deployment.id());
  Watcher watcher(channel(), cookie_, request);
  watcher.next([](const v1::WatchResponse&) { return true; });
  const int64_t now_ms = clock_.now_ms() - 4000;
  agent->send_replica_sample(serve.attempt_id(), now_ms,
                             {{"vllm:generation_tokens_total", 100}, {"slipway:max_model_len", 2048}});
  agent->send_replica_sample(
      serve.attempt_id(), now_ms + 2000,
      {{"vllm:generation_tokens_total", 300}, {"slipway:max_model_len", 2048}, {"slipway:weight_bits", 8}});
  const auto change = watcher.next([](const v1::WatchResponse& r) { return r.has_deployment_sample(); });
  EXPECT_DOUBLE_EQ(change.deployment_sample().sample().generation_tokens_per_second(), 100);
  v1::ListDeploymentSamplesRequest list;
  v1::ListDeploymentSamplesResponse samples;
  list.set_deployment_id("small");
  ASSERT_TRUE(v1::DeploymentService::NewStub(channel())->ListDeploymentSamples(context().get(), list, &samples).ok());
  ASSERT_EQ(samples.samples_size(), 1);
  EXPECT_FALSE(samples.samples(0).time_to_first_token().has_p50());
  EXPECT_EQ(get_deployment("small").limits().max_model_len(), 2048);
  EXPECT_EQ(get_deployment("small").limits().dtype(), "int8");
}

TEST_F(Deployments, AnotherVersionTakesOverWhenItIsReady) {
  auto agent = make_agent();
  agent->connect();
  v1::Deployment deployment;
  ASSERT_TRUE(create("small", "smollm2", &deployment).ok());
  const auto old = agent->expect_start("serve");
  make_ready(*agent, old, "http://127.0.0.1:1111");
  const auto move_to = [&](const std::string& version) {
    ASSERT_TRUE(backend_->database
                    ->write([&](store::Transaction& transaction) {
                      return backend_->conductor.deploy(transaction, {"small", version, {}, ""}, true).status();
                    })
                    .ok());
    backend_->nodes.wake();
  };
  move_to("mv-tuned-1");
  const auto next = agent->expect_start("serve");
  EXPECT_EQ(*backend_->deployments.find_replica("small"), "127.0.0.1:1111") << "until the new one is ready";
  EXPECT_NE(get_deployment("small").state(), v1::DEPLOYMENT_STATE_READY);
  make_ready(*agent, next, "http://127.0.0.1:2222");
  EXPECT_EQ(agent->expect_stop().attempt_id(), old.attempt_id());
  wait_for_deployment(deployment.id(), v1::DEPLOYMENT_STATE_READY);
  EXPECT_EQ(*backend_->deployments.find_replica("small"), "127.0.0.1:2222");
  agent->send_state(old.attempt_id(), AttemptStatus::STATE_STOPPED);

  // One that does not come up changes nothing.
  move_to("mv-tuned-2");
  const auto broken = agent->expect_start("serve");
  agent->send_event(broken.attempt_id(),
                    R"({"type":"error","code":"INVALID_MODEL","message":"no tensor","advice":""})");
  agent->send_state(broken.attempt_id(), AttemptStatus::STATE_FAILED);
  const auto kept = wait_for_deployment(deployment.id(), v1::DEPLOYMENT_STATE_READY);
  EXPECT_EQ(kept.model_version_id(), "mv-tuned-1");
  EXPECT_EQ(kept.error().code(), "INVALID_MODEL");
  EXPECT_EQ(*backend_->deployments.find_replica("small"), "127.0.0.1:2222");
}

TEST_F(Deployments, SettingsReachTheEngineAndChangeWithoutAGap) {
  auto agent = make_agent();
  agent->connect();
  auto stub = v1::DeploymentService::NewStub(channel());
  v1::CreateDeploymentRequest request;
  request.set_name("small");
  request.set_model_version_id("smollm2");
  request.mutable_settings()->set_dtype("int8");
  request.mutable_settings()->set_kv_cache_dtype("int4");
  v1::Deployment deployment;
  const auto refused = stub->CreateDeployment(context().get(), request, &deployment);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(refused.error_message(), testing::HasSubstr("int4"));
  request.mutable_settings()->set_kv_cache_dtype("int8");
  request.mutable_settings()->set_max_model_len(512);
  ASSERT_TRUE(stub->CreateDeployment(context().get(), request, &deployment).ok());
  const auto old = agent->expect_start("serve");
  auto spec = nlohmann::json::parse(old.spec_json());
  EXPECT_EQ(spec.at("model").at("dtype"), "int8");
  EXPECT_EQ(spec.at("kv_cache_dtype"), "int8");
  EXPECT_EQ(spec.at("limits"), nlohmann::json({{"max_num_seqs", 64}, {"queue", 256}, {"max_model_len", 512}}));
  make_ready(*agent, old, "http://127.0.0.1:1111");
  wait_for_deployment(deployment.id(), v1::DEPLOYMENT_STATE_READY);

  v1::UpdateDeploymentRequest update;
  update.set_id("small");
  ASSERT_TRUE(stub->UpdateDeployment(context().get(), update, &deployment).ok()) << "nothing to change";
  EXPECT_EQ(deployment.state(), v1::DEPLOYMENT_STATE_READY);
  *update.mutable_settings() = request.settings();
  update.mutable_settings()->set_dtype("int4");
  update.mutable_settings()->set_threads(2);
  ASSERT_TRUE(stub->UpdateDeployment(context().get(), update, &deployment).ok());
  const auto next = agent->expect_start("serve");
  spec = nlohmann::json::parse(next.spec_json());
  EXPECT_EQ(spec.at("model").at("dtype"), "int4");
  EXPECT_EQ(spec.at("threads"), 2);
  EXPECT_EQ(*backend_->deployments.find_replica("small"), "127.0.0.1:1111") << "until the new one is ready";

  // One that does not come up leaves version and settings as they were.
  agent->send_event(next.attempt_id(), R"({"type":"error","code":"OUT_OF_MEMORY","message":"no room","advice":""})");
  agent->send_state(next.attempt_id(), AttemptStatus::STATE_FAILED);
  const auto kept = wait_for_deployment(deployment.id(), v1::DEPLOYMENT_STATE_READY);
  EXPECT_EQ(kept.settings().dtype(), "int8");
  EXPECT_EQ(kept.settings().threads(), 0);
  EXPECT_EQ(kept.error().code(), "OUT_OF_MEMORY");
}

TEST_F(Deployments, DeleteTakesTheKeysAlong) {
  auto agent = make_agent();
  agent->connect();
  v1::Deployment deployment;
  ASSERT_TRUE(create("small", "smollm2", &deployment).ok());
  const auto serve = agent->expect_start("serve");
  make_ready(*agent, serve, "http://127.0.0.1:1111");
  auto stub = v1::DeploymentService::NewStub(channel());
  v1::CreateDeploymentKeyRequest key_request;
  key_request.set_deployment_id("small");
  key_request.set_name("app");
  v1::CreateDeploymentKeyResponse key;
  ASSERT_TRUE(stub->CreateDeploymentKey(context().get(), key_request, &key).ok());
  EXPECT_TRUE(backend_->keys.find_deployment(key.secret()).ok());
  v1::DeleteDeploymentRequest remove;
  remove.set_id("small");
  v1::DeleteDeploymentResponse removed;
  ASSERT_TRUE(stub->DeleteDeployment(context().get(), remove, &removed).ok());
  EXPECT_FALSE(backend_->keys.find_deployment(key.secret()).ok());
  EXPECT_EQ(agent->expect_stop().attempt_id(), serve.attempt_id());
  agent->send_state(serve.attempt_id(), AttemptStatus::STATE_SUCCEEDED);
  agent->expect_release(serve.attempt_id());
  EXPECT_EQ(backend_->deployments.get("small").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace slipway::test
