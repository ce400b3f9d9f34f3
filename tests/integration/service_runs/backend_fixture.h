// slipwayd's part for runs, put together over a temporary data folder with a registry played by the test.
#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "backend/base/clock.h"
#include "backend/base/files.h"
#include "backend/rpc/agent_adapter.h"
#include "backend/rpc/deployment_adapter.h"
#include "backend/rpc/event_adapter.h"
#include "backend/rpc/node_adapter.h"
#include "backend/rpc/run_adapter.h"
#include "backend/rpc/server.h"
#include "backend/rpc/workflow_adapter.h"
#include "backend/service/auth.h"
#include "slipway/v1/error.pb.h"
#include "tests/integration/service_runs/fake_agent.h"

namespace slipway::test {

// The backend's threads call it, the test reads what was registered.
class FakeRegistry : public service::ModelRegistry {
 public:
  absl::StatusOr<service::ModelVersionFacts> find_model_version(store::Connection&,
                                                                const std::string& reference) override;
  absl::StatusOr<service::DatasetVersionFacts> find_dataset_version(store::Connection&,
                                                                    const std::string& reference) override;
  absl::Status check_model_name(store::Connection&, const std::string& name) override;
  absl::StatusOr<std::string> register_version(store::Transaction&, const service::NewModelVersion& version) override;

  std::vector<service::NewModelVersion> registered() const;

 private:
  mutable std::mutex mutex_;
  std::vector<service::NewModelVersion> registered_;
};

// All objects of one process; destroying them is a clean end, and another over the same folder is the next start.
struct Backend {
  Backend(const std::filesystem::path& folder, const base::Clock& clock, FakeRegistry& registry, int keep_alive_ms);
  ~Backend();

  std::unique_ptr<store::Database> database;
  workflows::Catalogue catalogue;
  service::Conductor conductor;
  service::Nodes nodes;
  service::Auth auth;
  service::Runs runs;
  service::WorkflowPlans plans;
  service::Deployments deployments;
  service::DeploymentKeys keys;
  service::Watches watches;
  rpc::WorkerPool workers{4};
  rpc::Authenticator authenticator;
  rpc::Gate gate;
  rpc::RunAdapter run_adapter;
  rpc::WorkflowAdapter workflow_adapter;
  rpc::NodeAdapter node_adapter;
  rpc::DeploymentAdapter deployment_adapter;
  rpc::AgentAdapter agent_adapter;
  rpc::EventAdapter event_adapter;
  std::unique_ptr<rpc::Server> server;
};

// A watch stream, read with a deadline.
class Watcher {
 public:
  Watcher(std::shared_ptr<grpc::Channel> channel, const std::string& cookie, const v1::WatchRequest& request);
  ~Watcher();
  // The next message that fits; throws after ten seconds. `seen` collects all on the way.
  v1::WatchResponse next(const std::function<bool(const v1::WatchResponse&)>& wanted);
  grpc::Status finish();
  std::vector<v1::WatchResponse> seen;

 private:
  grpc::ClientContext context_;
  std::unique_ptr<v1::EventService::Stub> stub_;
  std::unique_ptr<grpc::ClientReader<v1::WatchResponse>> reader_;
};

class BackendTest : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override { backend_.reset(); }  // before the clock of a derived fixture goes
  void start_backend();
  void restart_backend();

  std::shared_ptr<grpc::Channel> channel() { return backend_->server->in_process_channel(); }
  std::unique_ptr<FakeAgent> make_agent(const std::string& name = "laptop");
  std::unique_ptr<grpc::ClientContext> context() const;
  static v1::ErrorDetail detail_of(const grpc::Status& status);

  grpc::Status start_run(const v1::StartRunRequest& request, v1::Run* run);
  // A run of fine-tune-and-deploy with these parameters besides model and dataset.
  v1::Run start_fine_tune(const std::map<std::string, std::string>& parameters = {});
  v1::Run get_run(const std::string& id);
  v1::Run cancel_run(const std::string& id);
  v1::Run retry_run(const std::string& id);
  v1::Deployment get_deployment(const std::string& id);
  // Waits by a watch stream until the run, or deployment, looks like this.
  v1::Run wait_for_run(const std::string& id, const std::function<bool(const v1::Run&)>& wanted);
  v1::Run wait_for_state(const std::string& id, v1::RunState state);
  v1::Deployment wait_for_deployment(const std::string& id, v1::DeploymentState state);
  static const v1::Task& task(const v1::Run& run, const std::string& name);
  std::vector<v1::LogLine> log(const std::string& run_id, const std::string& task = "", const std::string& search = "");
  std::vector<v1::RunEvent> events(const std::string& run_id);

  base::TemporaryFolder folder_;
  base::SystemClock clock_;
  const base::Clock* used_clock_ = &clock_;
  int keep_alive_ms_ = 15'000;
  FakeRegistry registry_;
  std::string cookie_;
  std::unique_ptr<Backend> backend_;
};

// results.json as slipway-eval writes it.
std::string perplexity_results(double perplexity);

}  // namespace slipway::test
