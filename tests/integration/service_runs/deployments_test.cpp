// Deployments by hand: start, ready, crash, stop, start again, change of version, delete; and their keys.
#include <gmock/gmock.h>

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
