#include "tests/integration/service_runs/fake_agent.h"

#include <gtest/gtest.h>

#include <chrono>
#include <stdexcept>

namespace slipway::test {

using v1::AttemptStatus;
using v1::BackendMessage;

v1::NodeFacts one_cpu(const std::string& name) {
  v1::NodeFacts facts;
  facts.set_name(name);
  facts.set_cpu_cores(2);
  facts.set_memory_bytes(int64_t{8} << 30);
  auto* device = facts.add_devices();
  device->set_id("cpu");
  device->set_kind("cpu");
  device->set_name("Test CPU");
  return facts;
}

FakeAgent::FakeAgent(std::shared_ptr<grpc::Channel> channel, const std::string& join_token, const std::string& name)
    : channel_(std::move(channel)), name_(name) {
  grpc::ClientContext context;
  v1::JoinRequest request;
  v1::JoinResponse response;
  request.set_join_token(join_token);
  *request.mutable_facts() = one_cpu(name);
  const auto status = v1::AgentService::NewStub(channel_)->Join(&context, request, &response);
  if (!status.ok()) throw std::runtime_error("join: " + status.error_message());
  node_id_ = response.node_id();
  token_ = response.node_token();
}

FakeAgent::~FakeAgent() { disconnect(); }

BackendMessage::Welcome FakeAgent::connect(const std::vector<AttemptStatus>& attempts,
                                           std::shared_ptr<grpc::Channel> channel) {
  disconnect();
  if (channel) channel_ = std::move(channel);
  context_ = std::make_unique<grpc::ClientContext>();
  context_->AddMetadata("authorization", "Bearer " + token_);
  stub_ = v1::AgentService::NewStub(channel_);
  stream_ = stub_->Session(context_.get());
  reader_ = std::thread([this, stream = stream_.get()] {
    BackendMessage message;
    while (stream->Read(&message)) {
      const std::lock_guard lock(mutex_);
      inbox_.push_back(message);
      arrived_.notify_all();
    }
  });
  v1::AgentMessage hello;
  *hello.mutable_hello()->mutable_facts() = one_cpu(name_);
  for (const AttemptStatus& attempt : attempts) *hello.mutable_hello()->add_attempts() = attempt;
  send(hello);
  return expect("welcome", [](const BackendMessage& m) { return m.has_welcome(); }).welcome();
}

void FakeAgent::disconnect() {
  if (!stream_) return;
  context_->TryCancel();
  reader_.join();
  stream_->Finish();
  stream_.reset();
  stub_.reset();
  inbox_.clear();
}

BackendMessage FakeAgent::expect(const std::string& what, const std::function<bool(const BackendMessage&)>& wanted) {
  std::unique_lock lock(mutex_);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (true) {
    for (auto message = inbox_.begin(); message != inbox_.end(); ++message) {
      if (!wanted(*message)) continue;
      BackendMessage found = *message;
      inbox_.erase(message);
      return found;
    }
    if (arrived_.wait_until(lock, deadline) == std::cv_status::timeout) {
      throw std::runtime_error("the agent waited in vain for: " + what);
    }
  }
}

v1::StartAttempt FakeAgent::expect_start(const std::string& engine) {
  return expect(
             "start " + engine,
             [&](const BackendMessage& m) { return m.has_start() && (engine.empty() || m.start().engine() == engine); })
      .start();
}

v1::StopAttempt FakeAgent::expect_stop() {
  return expect("stop", [](const BackendMessage& m) { return m.has_stop(); }).stop();
}

std::string FakeAgent::expect_meet(const std::string& attempt_id) {
  return expect("meet",
                [&](const v1::BackendMessage& m) { return m.has_meet() && m.meet().attempt_id() == attempt_id; })
      .meet()
      .meeting();
}

v1::ReleaseAttempt FakeAgent::expect_release(const std::string& attempt_id) {
  return expect("release",
                [&](const BackendMessage& m) { return m.has_release() && m.release().attempt_id() == attempt_id; })
      .release();
}

v1::LinesAcknowledged FakeAgent::expect_acknowledged(const std::string& attempt_id, const std::string& file,
                                                     int64_t end_offset) {
  return expect("acknowledgement",
                [&](const BackendMessage& m) {
                  return m.has_acknowledged() && m.acknowledged().attempt_id() == attempt_id &&
                         m.acknowledged().file() == file && m.acknowledged().end_offset() == end_offset;
                })
      .acknowledged();
}

v1::SetAdapters FakeAgent::expect_set_adapters(const std::string& attempt_id) {
  return expect("adapters",
                [&](const BackendMessage& m) {
                  return m.has_set_adapters() && m.set_adapters().attempt_id() == attempt_id;
                })
      .set_adapters();
}

void FakeAgent::send_adapters(const v1::AdaptersReport& report) {
  v1::AgentMessage message;
  *message.mutable_adapters() = report;
  send(message);
}

void FakeAgent::send_replica_sample(const std::string& attempt_id, int64_t time_ms,
                                    const std::map<std::string, double>& values) {
  v1::AgentMessage message;
  auto* sample = message.mutable_replica_sample();
  sample->set_attempt_id(attempt_id);
  sample->mutable_time()->set_seconds(time_ms / 1000);
  sample->mutable_time()->set_nanos(static_cast<int32_t>(time_ms % 1000) * 1'000'000);
  sample->mutable_values()->insert(values.begin(), values.end());
  send(message);
}

void FakeAgent::send(const v1::AgentMessage& message) {
  if (!stream_->Write(message)) throw std::runtime_error("the agent's session is over");
}

int64_t FakeAgent::send_lines(const std::string& attempt_id, const std::string& file,
                              const std::vector<std::string>& lines, int64_t offset) {
  int64_t& end = ends_[attempt_id + file];
  if (offset < 0) offset = end;
  v1::AgentMessage message;
  auto* batch = message.mutable_lines();
  batch->set_attempt_id(attempt_id);
  batch->set_file(file);
  batch->set_offset(offset);
  int64_t batch_end = offset;
  for (const std::string& line : lines) {
    batch->add_lines(line);
    batch_end += static_cast<int64_t>(line.size()) + 1;
  }
  batch->set_end_offset(batch_end);
  batch->mutable_time()->set_seconds(1'700'000'000);
  end = std::max(end, batch_end);
  send(message);
  expect_acknowledged(attempt_id, file, end);
  return end;
}

void FakeAgent::send_status(const AttemptStatus& status) {
  v1::AgentMessage message;
  *message.mutable_status() = status;
  send(message);
}

void FakeAgent::send_state(const std::string& attempt_id, AttemptStatus::State state) {
  AttemptStatus status;
  status.set_attempt_id(attempt_id);
  status.set_state(state);
  send_status(status);
}

void FakeAgent::send_sample(int64_t time_ms, double cpu) {
  v1::AgentMessage message;
  message.mutable_sample()->mutable_time()->set_seconds(time_ms / 1000);
  message.mutable_sample()->mutable_time()->set_nanos(static_cast<int32_t>(time_ms % 1000) * 1'000'000);
  message.mutable_sample()->set_cpu_utilization(cpu);
  send(message);
}

void FakeAgent::succeed(const v1::StartAttempt& start, const std::map<std::string, std::string>& returned_files) {
  send_state(start.attempt_id(), AttemptStatus::STATE_RUNNING);
  send_lines(start.attempt_id(), "stdout", {"hello from " + start.engine()});
  AttemptStatus status;
  status.set_attempt_id(start.attempt_id());
  status.set_state(AttemptStatus::STATE_SUCCEEDED);
  status.set_exit_code(0);
  for (const std::string& name : start.upload_artifacts()) (*status.mutable_artifact_ids())[name] = "artifact-" + name;
  status.mutable_returned_files()->insert(returned_files.begin(), returned_files.end());
  send_status(status);
}

}  // namespace slipway::test
