// An agent played by a test: speaks AgentService's stream, runs no engine.
#pragma once

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "slipway/v1/agent.grpc.pb.h"

namespace slipway::test {

v1::NodeFacts one_cpu(const std::string& name);

class FakeAgent {
 public:
  // Joins as a new node.
  FakeAgent(std::shared_ptr<grpc::Channel> channel, const std::string& join_token, const std::string& name = "laptop");
  ~FakeAgent();

  const std::string& node_id() const { return node_id_; }
  // Opens a session (over another channel when given) and says Hello with these attempts; the Welcome.
  v1::BackendMessage::Welcome connect(const std::vector<v1::AttemptStatus>& attempts = {},
                                      std::shared_ptr<grpc::Channel> channel = nullptr);
  // Ends the session without a word, as a crash does.
  void disconnect();

  // The next message of this kind, others are kept; fails the test after ten seconds.
  v1::StartAttempt expect_start(const std::string& engine = "");
  v1::StopAttempt expect_stop();
  // Where the ranks of this one's gang meet.
  std::string expect_meet(const std::string& attempt_id);
  v1::ReleaseAttempt expect_release(const std::string& attempt_id);
  v1::LinesAcknowledged expect_acknowledged(const std::string& attempt_id, const std::string& file, int64_t end_offset);

  // Sends lines of a file from `offset` (default: where the last ones ended), and waits for the acknowledgement.
  int64_t send_lines(const std::string& attempt_id, const std::string& file, const std::vector<std::string>& lines,
                     int64_t offset = -1);
  void send_event(const std::string& attempt_id, const std::string& json) { send_lines(attempt_id, "events", {json}); }
  void send_status(const v1::AttemptStatus& status);
  void send_state(const std::string& attempt_id, v1::AttemptStatus::State state);
  void send_sample(int64_t time_ms, double cpu);
  // Readings of a replica's running totals.
  void send_replica_sample(const std::string& attempt_id, int64_t time_ms, const std::map<std::string, double>& values);
  v1::SetAdapters expect_set_adapters(const std::string& attempt_id);
  void send_adapters(const v1::AdaptersReport& report);

  // Plays an engine that succeeds: running, a line of log, artifacts by name, returned files.
  void succeed(const v1::StartAttempt& start, const std::map<std::string, std::string>& returned_files = {});

 private:
  v1::BackendMessage expect(const std::string& what, const std::function<bool(const v1::BackendMessage&)>& wanted);
  void send(const v1::AgentMessage& message);

  std::shared_ptr<grpc::Channel> channel_;
  std::string name_, node_id_, token_;
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<v1::AgentService::Stub> stub_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::AgentMessage, v1::BackendMessage>> stream_;
  std::thread reader_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<v1::BackendMessage> inbox_;
  std::map<std::string, int64_t> ends_;  // by attempt and file
};

}  // namespace slipway::test
