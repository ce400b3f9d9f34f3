// A backend in this process for the agent's tests: AgentService and ArtifactService over real gRPC, with the strictest
// book-keeping: a gap in an attempt's lines is an error, doubles are counted and dropped.
#pragma once

#include <grpcpp/server.h>

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "slipway/v1/agent.grpc.pb.h"
#include "slipway/v1/artifact.grpc.pb.h"

namespace slipway::node {

class FakeBackend {
 public:
  FakeBackend();
  ~FakeBackend();

  int port() const { return port_; }
  // As if killed and started again on the same port: sessions break, what was stored stays.
  void go_away();
  void come_back();

  void start(const v1::StartAttempt& start);
  void stop(const std::string& attempt, int grace_seconds);
  void meet(const std::string& attempt, const std::string& meeting);
  void release(const std::string& attempt);
  // Without it, lines are stored but the agent does not hear of it.
  void acknowledge_lines(bool on);
  void forget_nodes();

  std::vector<std::string> lines(const std::string& attempt, const std::string& file) const;
  v1::AttemptStatus status(const std::string& attempt) const;
  // States in the order they came, doubles left out.
  std::vector<v1::AttemptStatus::State> states(const std::string& attempt) const;
  // The line counts that were stored when the final status came.
  size_t lines_at_end(const std::string& attempt) const;
  bool has_session() const;
  int joins() const;
  int samples() const;
  v1::AgentMessage::Hello last_hello() const;
  std::string problem() const;

  // The one artifact's files, by path; and what was uploaded, by artifact id.
  std::map<std::string, std::string> artifact_files;
  std::map<std::string, std::map<std::string, std::string>> uploaded() const;

 private:
  struct Attempt {
    std::map<std::string, int64_t> received;
    std::map<std::string, std::vector<std::string>> lines;
    std::vector<v1::AttemptStatus> statuses;
    size_t lines_at_end = 0;
  };
  class Agents;
  class Store;
  void send(v1::BackendMessage message);
  void take_status(const v1::AttemptStatus& status);

  mutable std::mutex mutex_;
  std::map<std::string, Attempt> attempts_;
  grpc::ServerReaderWriter<v1::BackendMessage, v1::AgentMessage>* stream_ = nullptr;
  bool acknowledge_ = true;
  int joins_ = 0;
  int samples_ = 0;
  int known_nodes_from_ = 0;
  v1::AgentMessage::Hello hello_;
  std::string problem_;
  std::map<std::string, std::map<std::string, std::string>> uploaded_;
  std::vector<std::pair<v1::BeginUploadRequest, std::map<int, std::string>>> uploads_;

  std::unique_ptr<Agents> agents_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

}  // namespace slipway::node
