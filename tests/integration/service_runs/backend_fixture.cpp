#include "tests/integration/service_runs/backend_fixture.h"

#include <chrono>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "backend/base/status.h"

namespace slipway::test {

absl::StatusOr<service::ModelVersionFacts> FakeRegistry::find_model_version(store::Connection&,
                                                                            const std::string& reference) {
  service::ModelVersionFacts facts;
  if (reference == "smollm2" || reference == "mv-base") {
    facts = {"mv-base", "smollm2", "smollm2@1", "artifact-smollm2", "model.gguf",
             false,     "",        8192,        135'000'000,        90'000'000};
    return facts;
  }
  if (reference.rfind("mv-tuned", 0) == 0) {
    facts = {reference, "perlfaq", "perlfaq@1", "artifact-adapter", "", true, "mv-base", 8192, 1'000'000, 4'000'000};
    if (reference == "mv-tuned-tasks") facts.tasks = 3;
    return facts;
  }
  return base::not_found("model", reference);
}

absl::StatusOr<service::DatasetVersionFacts> FakeRegistry::find_dataset_version(store::Connection&,
                                                                                const std::string& reference) {
  if (reference != "perlfaq") return base::not_found("dataset", reference);
  service::DatasetVersionFacts facts{
      "dv-1", "perlfaq", "perlfaq@1", "artifact-perlfaq", "rows.jsonl", "prompt_completion", {{"prompt", "question"}},
      290};
  return facts;
}

absl::Status FakeRegistry::check_model_name(store::Connection&, const std::string& name) {
  if (name.find(' ') == std::string::npos) return absl::OkStatus();
  return base::invalid_argument("name", "'" + name + "' is not a model name", "leave out the spaces");
}

absl::StatusOr<std::string> FakeRegistry::register_version(store::Transaction&,
                                                           const service::NewModelVersion& version) {
  const std::lock_guard lock(mutex_);
  registered_.push_back(version);
  return "mv-tuned-" + std::to_string(registered_.size());
}

std::vector<service::NewModelVersion> FakeRegistry::registered() const {
  const std::lock_guard lock(mutex_);
  return registered_;
}

namespace {

std::unique_ptr<store::Database> open_database(const std::filesystem::path& folder, const base::Clock& clock) {
  auto opened = store::Database::open(folder / "slipway.db", clock);
  if (!opened.ok()) throw std::runtime_error(opened.status().ToString());
  return *std::move(opened);
}

workflows::Catalogue load_workflows() {
  auto loaded = workflows::Catalogue::load(SLIPWAY_SOURCE_DIR "/workflows");
  if (!loaded.ok()) throw std::runtime_error(loaded.status().ToString());
  return *std::move(loaded);
}

}  // namespace

Backend::Backend(const std::filesystem::path& folder, const base::Clock& clock, FakeRegistry& registry,
                 int keep_alive_ms)
    : database(open_database(folder, clock)),
      catalogue(load_workflows()),
      conductor(registry),
      nodes(*database, clock, conductor),
      auth(*database, clock, &nodes, service::smallest_password_cost()),
      runs(*database, clock, catalogue, registry, conductor, [this] { nodes.wake(); }),
      plans(*database, catalogue, registry),
      deployments(*database, clock, registry, conductor, [this] { nodes.wake(); }),
      keys(*database, clock),
      watches(*database),
      authenticator(auth),
      gate{workers, authenticator},
      run_adapter(gate, runs),
      workflow_adapter(gate, plans),
      node_adapter(gate, nodes),
      deployment_adapter(gate, deployments, keys),
      agent_adapter(gate, nodes),
      event_adapter(gate, watches, keep_alive_ms) {
  const absl::Status recovered = runs.recover();
  if (!recovered.ok()) throw std::runtime_error(recovered.ToString());
  auto started = rpc::Server::start({"127.0.0.1:0", "", ""}, {&run_adapter, &workflow_adapter, &node_adapter,
                                                              &deployment_adapter, &agent_adapter, &event_adapter});
  if (!started.ok()) throw std::runtime_error(started.status().ToString());
  server = *std::move(started);
}

Backend::~Backend() { server->shut_down(0); }

Watcher::Watcher(std::shared_ptr<grpc::Channel> channel, const std::string& cookie, const v1::WatchRequest& request) {
  context_.AddMetadata("cookie", cookie);
  context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  stub_ = v1::EventService::NewStub(channel);
  reader_ = stub_->Watch(&context_, request);
}

Watcher::~Watcher() {
  if (reader_) finish();
}

v1::WatchResponse Watcher::next(const std::function<bool(const v1::WatchResponse&)>& wanted) {
  v1::WatchResponse response;
  while (reader_->Read(&response)) {
    seen.push_back(response);
    if (wanted(response)) return response;
  }
  throw std::runtime_error("the watch ended: " + finish().error_message());
}

grpc::Status Watcher::finish() {
  context_.TryCancel();
  v1::WatchResponse response;
  while (reader_->Read(&response)) {
  }
  const grpc::Status status = reader_->Finish();
  reader_.reset();
  return status;
}

void BackendTest::SetUp() {
  start_backend();
  const std::string setup = backend_->auth.start_setup();
  const auto signed_in = backend_->auth.complete_setup(setup, "admin", "correct horse battery");
  ASSERT_TRUE(signed_in.ok()) << signed_in.status();
  cookie_ = std::string(service::kSessionCookie) + "=" + signed_in->session_secret;
}

void BackendTest::start_backend() {
  backend_ = std::make_unique<Backend>(folder_.path(), *used_clock_, registry_, keep_alive_ms_);
  backend_->nodes.allow_join_token("join-me");
}

void BackendTest::restart_backend() {
  backend_.reset();
  start_backend();
}

std::unique_ptr<FakeAgent> BackendTest::make_agent(const std::string& name) {
  return std::make_unique<FakeAgent>(channel(), "join-me", name);
}

std::unique_ptr<grpc::ClientContext> BackendTest::context() const {
  auto made = std::make_unique<grpc::ClientContext>();
  made->AddMetadata("cookie", cookie_);
  made->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  return made;
}

v1::ErrorDetail BackendTest::detail_of(const grpc::Status& status) {
  v1::Status details;
  v1::ErrorDetail detail;
  details.ParseFromString(status.error_details());
  if (details.details_size() > 0) details.details(0).UnpackTo(&detail);
  return detail;
}

grpc::Status BackendTest::start_run(const v1::StartRunRequest& request, v1::Run* run) {
  return v1::RunService::NewStub(channel())->StartRun(context().get(), request, run);
}

v1::Run BackendTest::start_fine_tune(const std::map<std::string, std::string>& parameters) {
  v1::StartRunRequest request;
  request.set_workflow("fine-tune-and-deploy");
  (*request.mutable_parameters())["model"] = "\"smollm2\"";
  (*request.mutable_parameters())["dataset"] = "\"perlfaq\"";
  for (const auto& [name, value] : parameters) (*request.mutable_parameters())[name] = value;
  v1::Run run;
  const grpc::Status status = start_run(request, &run);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return run;
}

v1::Run BackendTest::get_run(const std::string& id) {
  v1::GetRunRequest request;
  v1::Run run;
  request.set_id(id);
  const auto status = v1::RunService::NewStub(channel())->GetRun(context().get(), request, &run);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return run;
}

v1::Run BackendTest::cancel_run(const std::string& id) {
  v1::CancelRunRequest request;
  v1::Run run;
  request.set_id(id);
  const auto status = v1::RunService::NewStub(channel())->CancelRun(context().get(), request, &run);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return run;
}

v1::Run BackendTest::retry_run(const std::string& id) {
  v1::RetryRunRequest request;
  v1::Run run;
  request.set_id(id);
  const auto status = v1::RunService::NewStub(channel())->RetryRun(context().get(), request, &run);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return run;
}

v1::Deployment BackendTest::get_deployment(const std::string& id) {
  v1::GetDeploymentRequest request;
  v1::Deployment deployment;
  request.set_id(id);
  const auto status = v1::DeploymentService::NewStub(channel())->GetDeployment(context().get(), request, &deployment);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return deployment;
}

v1::Run BackendTest::wait_for_run(const std::string& id, const std::function<bool(const v1::Run&)>& wanted) {
  v1::WatchRequest request;
  request.set_run_id(id);
  Watcher watcher(channel(), cookie_, request);
  watcher.next([](const v1::WatchResponse&) { return true; });  // the cursor: from here on nothing is missed
  v1::Run run = get_run(id);
  while (!wanted(run)) run = watcher.next([](const v1::WatchResponse& response) { return response.has_run(); }).run();
  return run;
}

v1::Run BackendTest::wait_for_state(const std::string& id, v1::RunState state) {
  return wait_for_run(id, [&](const v1::Run& run) { return run.state() == state; });
}

v1::Deployment BackendTest::wait_for_deployment(const std::string& id, v1::DeploymentState state) {
  Watcher watcher(channel(), cookie_, {});
  watcher.next([](const v1::WatchResponse&) { return true; });
  v1::Deployment deployment = get_deployment(id);
  while (deployment.state() != state) {
    deployment = watcher.next([](const v1::WatchResponse& response) { return response.has_deployment(); }).deployment();
  }
  return deployment;
}

const v1::Task& BackendTest::task(const v1::Run& run, const std::string& name) {
  for (const v1::Task& each : run.tasks()) {
    if (each.name() == name) return each;
  }
  throw std::out_of_range("no task " + name);
}

std::vector<v1::LogLine> BackendTest::log(const std::string& run_id, const std::string& task_name,
                                          const std::string& search) {
  v1::ListLogLinesRequest request;
  v1::ListLogLinesResponse response;
  request.set_run_id(run_id);
  request.set_task(task_name);
  request.set_search(search);
  const auto status = v1::RunService::NewStub(channel())->ListLogLines(context().get(), request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return {response.lines().begin(), response.lines().end()};
}

std::vector<v1::RunEvent> BackendTest::events(const std::string& run_id) {
  v1::ListRunEventsRequest request;
  v1::ListRunEventsResponse response;
  request.set_run_id(run_id);
  const auto status = v1::RunService::NewStub(channel())->ListRunEvents(context().get(), request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return {response.events().begin(), response.events().end()};
}

std::string perplexity_results(double perplexity) {
  return nlohmann::json{{"results", {{"held_out", {{"perplexity,none", perplexity}}}}}}.dump();
}

}  // namespace slipway::test
