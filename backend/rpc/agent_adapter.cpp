#include "backend/rpc/agent_adapter.h"

#include <deque>
#include <mutex>
#include <utility>

#include "backend/base/status.h"
#include "backend/rpc/unary.h"

namespace slipway::rpc {
namespace {

using v1::AgentMessage;
using v1::BackendMessage;

int64_t to_ms(const google::protobuf::Timestamp& time) { return time.seconds() * 1000 + time.nanos() / 1'000'000; }

service::NodeFacts from_proto(const v1::NodeFacts& message) {
  service::NodeFacts facts;
  facts.name = message.name();
  facts.cpu_model = message.cpu_model();
  facts.cpu_cores = message.cpu_cores();
  facts.memory_bytes = message.memory_bytes();
  facts.disk_bytes = message.disk_bytes();
  facts.os = message.os();
  facts.cpu_features = {message.cpu_features().begin(), message.cpu_features().end()};
  facts.agent_version = message.agent_version();
  for (const v1::Device& device : message.devices()) {
    facts.devices.push_back({device.id(), device.kind(), device.name(), device.memory_bytes()});
  }
  return facts;
}

service::NodeSample from_proto(const v1::NodeSample& message) {
  service::NodeSample sample;
  sample.time_ms = to_ms(message.time());
  sample.cpu_utilization = message.cpu_utilization();
  sample.memory_used_bytes = message.memory_used_bytes();
  sample.memory_total_bytes = message.memory_total_bytes();
  sample.disk_used_bytes = message.disk_used_bytes();
  sample.disk_total_bytes = message.disk_total_bytes();
  sample.disk_read_bytes_per_second = message.disk_read_bytes_per_second();
  sample.disk_write_bytes_per_second = message.disk_write_bytes_per_second();
  for (const v1::GpuSample& gpu : message.gpus()) {
    sample.gpus.push_back({gpu.device_id(), gpu.utilization(), gpu.memory_used_bytes(), gpu.memory_total_bytes(),
                           gpu.power_watts(), gpu.temperature_celsius()});
  }
  return sample;
}

domain::ReplicaReading from_proto(const v1::ReplicaSample& message) {
  domain::ReplicaReading reading;
  reading.attempt_id = message.attempt_id();
  reading.time_ms = to_ms(message.time());
  reading.memory_bytes = message.memory_bytes();
  reading.values = {message.values().begin(), message.values().end()};
  for (const auto& [name, histogram] : message.histograms()) {
    reading.histograms[name] = {{histogram.bounds().begin(), histogram.bounds().end()},
                                {histogram.cumulative_counts().begin(), histogram.cumulative_counts().end()}};
  }
  return reading;
}

service::AdaptersReport from_proto(const v1::AdaptersReport& message) {
  service::AdaptersReport report{message.attempt_id(), {message.loaded().begin(), message.loaded().end()}, {}};
  for (const auto& failure : message.failures()) {
    report.failures.push_back({failure.name(), failure.code(), failure.message(), failure.advice()});
  }
  return report;
}

service::AttemptReport from_proto(const v1::AttemptStatus& message) {
  using State = service::AttemptReport::State;
  service::AttemptReport report;
  report.attempt_id = message.attempt_id();
  switch (message.state()) {
    case v1::AttemptStatus::STATE_RUNNING:
      report.state = State::kRunning;
      break;
    case v1::AttemptStatus::STATE_UPLOADING:
      report.state = State::kUploading;
      break;
    case v1::AttemptStatus::STATE_SUCCEEDED:
      report.state = State::kSucceeded;
      break;
    case v1::AttemptStatus::STATE_FAILED:
      report.state = State::kFailed;
      break;
    case v1::AttemptStatus::STATE_STOPPED:
      report.state = State::kStopped;
      break;
    case v1::AttemptStatus::STATE_PREPARED:
      report.state = State::kPrepared;
      break;
    default:
      report.state = State::kPreparing;
      break;
  }
  if (message.has_exit_code()) report.exit_code = message.exit_code();
  report.signal = message.signal();
  report.code = message.code();
  report.message = message.message();
  report.advice = message.advice();
  report.artifact_ids = {message.artifact_ids().begin(), message.artifact_ids().end()};
  report.meeting = message.meeting();
  report.returned_files = {message.returned_files().begin(), message.returned_files().end()};
  return report;
}

service::LineBatch from_proto(const v1::AttemptLines& message) {
  return {message.attempt_id(),
          message.file(),
          message.offset(),
          message.end_offset(),
          {message.lines().begin(), message.lines().end()},
          to_ms(message.time())};
}

class SessionReactor;

// What the service holds of a session; outlives the stream, and drops what comes after its end.
class Link final : public service::AgentLink {
 public:
  explicit Link(SessionReactor* reactor) : reactor_(reactor) {}

  void welcome(const std::string& node_id, const std::vector<service::FilePosition>& positions) override {
    BackendMessage message;
    message.mutable_welcome()->set_node_id(node_id);
    for (const service::FilePosition& position : positions) {
      fill_position(position, message.mutable_welcome()->add_positions());
    }
    send(std::move(message));
  }
  void start(const service::StartOrder& order) override;
  void stop(const std::string& attempt_id, int32_t grace_seconds, bool keep) override {
    BackendMessage message;
    message.mutable_stop()->set_attempt_id(attempt_id);
    message.mutable_stop()->set_grace_seconds(grace_seconds);
    message.mutable_stop()->set_keep(keep);
    send(std::move(message));
  }
  void meet(const std::string& attempt_id, const std::string& meeting) override {
    BackendMessage message;
    message.mutable_meet()->set_attempt_id(attempt_id);
    message.mutable_meet()->set_meeting(meeting);
    send(std::move(message));
  }
  void set_adapters(const std::string& attempt_id, const std::vector<service::AdapterOrder>& adapters) override {
    BackendMessage message;
    message.mutable_set_adapters()->set_attempt_id(attempt_id);
    for (const service::AdapterOrder& adapter : adapters) {
      auto* added = message.mutable_set_adapters()->add_adapters();
      added->set_name(adapter.name);
      added->set_artifact_id(adapter.artifact_id);
      added->set_path(adapter.path);
      added->set_task_id(adapter.task_id);
    }
    send(std::move(message));
  }
  void acknowledge(const service::FilePosition& position) override {
    BackendMessage message;
    fill_position(position, message.mutable_acknowledged());
    send(std::move(message));
  }
  void release(const std::string& attempt_id) override {
    BackendMessage message;
    message.mutable_release()->set_attempt_id(attempt_id);
    send(std::move(message));
  }
  void close(const std::string& reason) override;

  // The stream is over.
  void detach() {
    const std::lock_guard lock(mutex_);
    reactor_ = nullptr;
  }

 private:
  static void fill_position(const service::FilePosition& position, v1::LinesAcknowledged* message) {
    message->set_attempt_id(position.attempt_id);
    message->set_file(position.file);
    message->set_end_offset(position.end_offset);
  }
  void send(BackendMessage message);

  std::mutex mutex_;
  SessionReactor* reactor_;
};

// One agent's stream. Reads one message after the other, writes from a queue; finishes once, when either side wants to.
class SessionReactor final : public grpc::ServerBidiReactor<AgentMessage, BackendMessage> {
 public:
  SessionReactor(grpc::CallbackServerContext* context, Gate gate, service::Nodes& nodes)
      : gate_(gate), nodes_(nodes), link_(std::make_shared<Link>(this)) {
    gate_.workers.post([this, context] {
      const auto caller = gate_.authenticator.authenticate(*context, Access::kNode);
      if (caller.ok()) node_id_ = caller->id;
      begin(caller.ok() ? grpc::Status::OK : to_grpc(caller.status()));
    });
  }

  // Any thread.
  void send(BackendMessage message) {
    const std::lock_guard lock(mutex_);
    if (finished_) return;
    outgoing_.push_back(std::move(message));
    if (outgoing_.size() == 1) StartWrite(&outgoing_.front());
  }

  // Any thread. After Finish this may be gone at any moment: nothing of it is touched.
  void finish(const grpc::Status& status) {
    {
      const std::lock_guard lock(mutex_);
      if (!begun_) cancelled_ = true;  // the worker that checks the caller finishes
      if (!begun_ || std::exchange(finished_, true)) return;
    }
    Finish(status);
  }

  void OnReadDone(bool ok) override {
    if (!ok) return finish(grpc::Status::OK);
    take(incoming_);
    incoming_.Clear();
    const std::lock_guard lock(mutex_);
    if (!finished_) StartRead(&incoming_);
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return finish(grpc::Status::OK);
    const std::lock_guard lock(mutex_);
    outgoing_.pop_front();
    if (!outgoing_.empty() && !finished_) StartWrite(&outgoing_.front());
  }

  void OnCancel() override { finish(grpc::Status::CANCELLED); }

  void OnDone() override {
    link_->detach();
    if (said_hello_) nodes_.closed(node_id_, link_.get());
    delete this;
  }

 private:
  // The caller is checked.
  void begin(grpc::Status status) {
    {
      const std::lock_guard lock(mutex_);
      begun_ = true;
      if (status.ok() && !cancelled_) {
        StartRead(&incoming_);
        return;
      }
      finished_ = true;
    }
    Finish(status.ok() ? grpc::Status::CANCELLED : status);
  }

  void take(const AgentMessage& message) {
    switch (message.message_case()) {
      case AgentMessage::kHello: {
        std::vector<service::AttemptReport> attempts;
        for (const v1::AttemptStatus& status : message.hello().attempts()) attempts.push_back(from_proto(status));
        said_hello_ = true;
        return nodes_.open(node_id_, from_proto(message.hello().facts()), attempts, link_);
      }
      case AgentMessage::kSample:
        return nodes_.take_sample(node_id_, from_proto(message.sample()));
      case AgentMessage::kLines:
        if (said_hello_) nodes_.take_lines(node_id_, from_proto(message.lines()), link_);
        return;
      case AgentMessage::kStatus:
        if (said_hello_) nodes_.take_report(node_id_, from_proto(message.status()), link_);
        return;
      case AgentMessage::kReplicaSample:
        return nodes_.take_replica_reading(node_id_, from_proto(message.replica_sample()));
      case AgentMessage::kAdapters:
        return nodes_.take_adapters(node_id_, from_proto(message.adapters()));
      case AgentMessage::MESSAGE_NOT_SET:
        return;  // of a newer agent
    }
  }

  Gate gate_;
  service::Nodes& nodes_;
  std::shared_ptr<Link> link_;
  std::string node_id_;
  bool said_hello_ = false;
  AgentMessage incoming_;
  std::mutex mutex_;  // guards what follows
  std::deque<BackendMessage> outgoing_;
  bool begun_ = false;
  bool cancelled_ = false;
  bool finished_ = false;
};

void Link::start(const service::StartOrder& order) {
  BackendMessage message;
  v1::StartAttempt* start = message.mutable_start();
  start->set_attempt_id(order.attempt_id);
  start->set_engine(order.engine);
  start->set_spec_json(order.spec_json);
  for (const service::StartOrder::Input& input : order.inputs) {
    auto* added = start->add_inputs();
    added->set_artifact_id(input.artifact_id);
    added->set_path(input.path);
  }
  start->set_work_key(order.work_key);
  start->mutable_limits()->set_grace_seconds(order.grace_seconds);
  start->set_device(order.device);
  for (const std::string& name : order.upload_artifacts) start->add_upload_artifacts(name);
  for (const std::string& name : order.return_files) start->add_return_files(name);
  start->set_restarts(order.restarts);
  start->set_plan(order.plan);
  if (order.gang) {
    start->mutable_gang()->set_rank(order.gang->rank);
    start->mutable_gang()->set_size(order.gang->size);
    start->mutable_gang()->set_local_size(order.gang->local_size);
  }
  send(std::move(message));
}

void Link::send(BackendMessage message) {
  const std::lock_guard lock(mutex_);
  if (reactor_ != nullptr) reactor_->send(std::move(message));
}

void Link::close(const std::string& reason) {
  const std::lock_guard lock(mutex_);
  if (reactor_ != nullptr) reactor_->finish(grpc::Status(grpc::StatusCode::ABORTED, reason));
}

}  // namespace

grpc::ServerUnaryReactor* AgentAdapter::Join(grpc::CallbackServerContext* context, const v1::JoinRequest* request,
                                             v1::JoinResponse* response) {
  return unary(context, gate_, Access::kOpen, [=, this]() -> absl::Status {
    const auto joined = nodes_.join(request->join_token(), from_proto(request->facts()));
    if (!joined.ok()) return joined.status();
    response->set_node_id(joined->node_id);
    response->set_node_token(joined->node_token);
    return absl::OkStatus();
  });
}

grpc::ServerBidiReactor<AgentMessage, BackendMessage>* AgentAdapter::Session(grpc::CallbackServerContext* context) {
  return new SessionReactor(context, gate_, nodes_);
}

}  // namespace slipway::rpc
