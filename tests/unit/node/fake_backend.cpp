#include "tests/unit/node/fake_backend.h"

#include <grpcpp/server_builder.h>

#include <chrono>

#include "backend/base/sha256.h"

namespace slipway::node {
namespace {

std::string bearer(const grpc::ServerContext& context) {
  const auto found = context.client_metadata().find("authorization");
  if (found == context.client_metadata().end()) return "";
  const std::string value(found->second.data(), found->second.size());
  return value.rfind("Bearer ", 0) == 0 ? value.substr(7) : "";
}

}  // namespace

class FakeBackend::Agents : public v1::AgentService::Service {
 public:
  explicit Agents(FakeBackend& owner) : owner_(owner) {}

  grpc::Status Join(grpc::ServerContext*, const v1::JoinRequest* request, v1::JoinResponse* response) override {
    if (request->join_token() != "join-me") return {grpc::StatusCode::UNAUTHENTICATED, "unknown join token"};
    const std::lock_guard lock(owner_.mutex_);
    response->set_node_id("node-" + std::to_string(++owner_.joins_));
    response->set_node_token("sln_" + std::to_string(owner_.joins_));
    return grpc::Status::OK;
  }

  grpc::Status Session(grpc::ServerContext* context,
                       grpc::ServerReaderWriter<v1::BackendMessage, v1::AgentMessage>* stream) override {
    const std::string token = bearer(*context);
    v1::AgentMessage message;
    {
      const std::lock_guard lock(owner_.mutex_);
      const int number = token.rfind("sln_", 0) == 0 ? std::stoi(token.substr(4)) : 0;
      if (number == 0 || number <= owner_.known_nodes_from_) return {grpc::StatusCode::UNAUTHENTICATED, "unknown node"};
    }
    if (!stream->Read(&message) || !message.has_hello()) return {grpc::StatusCode::INVALID_ARGUMENT, "no hello"};
    {
      const std::lock_guard lock(owner_.mutex_);
      owner_.hello_ = message.hello();
      v1::BackendMessage answer;
      answer.mutable_welcome()->set_node_id("node");
      for (const auto& status : message.hello().attempts()) {
        owner_.take_status(status);
        for (const auto& [file, end] : owner_.attempts_[status.attempt_id()].received) {
          auto* position = answer.mutable_welcome()->add_positions();
          position->set_attempt_id(status.attempt_id());
          position->set_file(file);
          position->set_end_offset(end);
        }
      }
      stream->Write(answer);
      owner_.stream_ = stream;
    }
    while (stream->Read(&message)) {
      const std::lock_guard lock(owner_.mutex_);
      if (message.has_sample()) ++owner_.samples_;
      if (message.has_status()) owner_.take_status(message.status());
      if (message.has_lines()) take_lines(message.lines(), stream);
    }
    const std::lock_guard lock(owner_.mutex_);
    if (owner_.stream_ == stream) owner_.stream_ = nullptr;
    return grpc::Status::OK;
  }

 private:
  void take_lines(const v1::AttemptLines& lines,
                  grpc::ServerReaderWriter<v1::BackendMessage, v1::AgentMessage>* stream) {
    auto& attempt = owner_.attempts_[lines.attempt_id()];
    auto& received = attempt.received[lines.file()];
    if (lines.offset() > received) owner_.problem_ = "a gap in " + lines.file() + " of " + lines.attempt_id();
    // Batches are cut anew after a break, but always at line ends: skip the lines that are there already.
    int64_t position = lines.offset();
    for (const auto& line : lines.lines()) {
      const int64_t end = position + static_cast<int64_t>(line.size()) + 1;
      if (position >= received) attempt.lines[lines.file()].push_back(line);
      position = end;
    }
    if (position != lines.end_offset()) owner_.problem_ = "offsets do not fit the lines";
    received = std::max(received, lines.end_offset());
    if (!owner_.acknowledge_) return;
    v1::BackendMessage answer;
    answer.mutable_acknowledged()->set_attempt_id(lines.attempt_id());
    answer.mutable_acknowledged()->set_file(lines.file());
    answer.mutable_acknowledged()->set_end_offset(received);
    stream->Write(answer);
  }

  FakeBackend& owner_;
};

class FakeBackend::Store : public v1::ArtifactService::Service {
 public:
  explicit Store(FakeBackend& owner) : owner_(owner) {}

  grpc::Status GetArtifact(grpc::ServerContext* context, const v1::GetArtifactRequest* request,
                           v1::Artifact* response) override {
    if (bearer(*context).empty()) return {grpc::StatusCode::UNAUTHENTICATED, "no token"};
    if (request->id() != "input")
      return {grpc::StatusCode::NOT_FOUND, "artifact '" + request->id() + "' does not exist"};
    response->set_id("input");
    for (const auto& [path, content] : owner_.artifact_files) {
      auto* file = response->add_files();
      file->set_path(path);
      file->set_size(static_cast<int64_t>(content.size()));
      file->set_sha256(base::sha256_hex(content));
    }
    return grpc::Status::OK;
  }
  grpc::Status DownloadFile(grpc::ServerContext*, const v1::DownloadFileRequest* request,
                            grpc::ServerWriter<v1::DownloadFileResponse>* writer) override {
    const std::string& content = owner_.artifact_files.at(request->path());
    for (size_t at = static_cast<size_t>(request->offset()); at < content.size(); at += 65536) {
      v1::DownloadFileResponse response;
      response.set_data(content.substr(at, 65536));
      if (!writer->Write(response)) break;
    }
    return grpc::Status::OK;
  }
  grpc::Status BeginUpload(grpc::ServerContext*, const v1::BeginUploadRequest* request, v1::Upload* response) override {
    const std::lock_guard lock(owner_.mutex_);
    size_t index = 0;
    if (request->upload_id().empty()) {
      owner_.uploads_.emplace_back(*request, std::map<int, std::string>());
      index = owner_.uploads_.size() - 1;
    } else {
      index = std::stoul(request->upload_id());
    }
    response->set_id(std::to_string(index));
    for (int i = 0; i < request->files_size(); ++i) {
      auto* file = response->add_files();
      file->set_path(request->files(i).path());
      file->set_received(static_cast<int64_t>(owner_.uploads_[index].second[i].size()));
    }
    return grpc::Status::OK;
  }
  grpc::Status UploadFile(grpc::ServerContext*, grpc::ServerReader<v1::UploadFileRequest>* reader,
                          v1::UploadFileResponse* response) override {
    v1::UploadFileRequest request;
    std::string* target = nullptr;
    while (reader->Read(&request)) {
      const std::lock_guard lock(owner_.mutex_);
      if (target == nullptr) target = &owner_.uploads_[std::stoul(request.upload_id())].second[request.file_index()];
      *target += request.data();
      response->set_received(static_cast<int64_t>(target->size()));
    }
    return grpc::Status::OK;
  }
  grpc::Status FinishUpload(grpc::ServerContext*, const v1::FinishUploadRequest* request,
                            v1::Artifact* response) override {
    const std::lock_guard lock(owner_.mutex_);
    const auto& [begin, contents] = owner_.uploads_[std::stoul(request->upload_id())];
    response->set_id("artifact-" + request->upload_id());
    for (const auto& [index, content] : contents) {
      if (base::sha256_hex(content) != begin.files(index).sha256()) return {grpc::StatusCode::DATA_LOSS, "wrong hash"};
      owner_.uploaded_[response->id()][begin.files(index).path()] = content;
    }
    return grpc::Status::OK;
  }

 private:
  FakeBackend& owner_;
};

FakeBackend::FakeBackend() : agents_(std::make_unique<Agents>(*this)), store_(std::make_unique<Store>(*this)) {
  come_back();
}
FakeBackend::~FakeBackend() { go_away(); }

void FakeBackend::go_away() {
  if (!server_) return;
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
  server_.reset();
}

void FakeBackend::come_back() {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:" + std::to_string(port_), grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(agents_.get());
  builder.RegisterService(store_.get());
  server_ = builder.BuildAndStart();
}

void FakeBackend::send(v1::BackendMessage message) {
  const std::lock_guard lock(mutex_);
  if (stream_ == nullptr) {
    problem_ = "nobody to send to";
    return;
  }
  stream_->Write(message);
}

void FakeBackend::start(const v1::StartAttempt& start) {
  v1::BackendMessage message;
  *message.mutable_start() = start;
  send(std::move(message));
}

void FakeBackend::stop(const std::string& attempt, int grace_seconds) {
  v1::BackendMessage message;
  message.mutable_stop()->set_attempt_id(attempt);
  message.mutable_stop()->set_grace_seconds(grace_seconds);
  send(std::move(message));
}

void FakeBackend::meet(const std::string& attempt, const std::string& meeting) {
  v1::BackendMessage message;
  message.mutable_meet()->set_attempt_id(attempt);
  message.mutable_meet()->set_meeting(meeting);
  send(std::move(message));
}

void FakeBackend::release(const std::string& attempt) {
  v1::BackendMessage message;
  message.mutable_release()->set_attempt_id(attempt);
  send(std::move(message));
}

void FakeBackend::acknowledge_lines(bool on) {
  const std::lock_guard lock(mutex_);
  acknowledge_ = on;
}

void FakeBackend::forget_nodes() {
  const std::lock_guard lock(mutex_);
  known_nodes_from_ = joins_;
}

void FakeBackend::take_status(const v1::AttemptStatus& status) {
  auto& attempt = attempts_[status.attempt_id()];
  attempt.statuses.push_back(status);
  if (status.state() >= v1::AttemptStatus::STATE_SUCCEEDED && attempt.lines_at_end == 0) {
    for (const auto& [file, lines] : attempt.lines) attempt.lines_at_end += lines.size();
  }
}

std::vector<std::string> FakeBackend::lines(const std::string& attempt, const std::string& file) const {
  const std::lock_guard lock(mutex_);
  const auto found = attempts_.find(attempt);
  if (found == attempts_.end()) return {};
  const auto lines = found->second.lines.find(file);
  return lines == found->second.lines.end() ? std::vector<std::string>{} : lines->second;
}

v1::AttemptStatus FakeBackend::status(const std::string& attempt) const {
  const std::lock_guard lock(mutex_);
  const auto found = attempts_.find(attempt);
  if (found == attempts_.end() || found->second.statuses.empty()) return {};
  return found->second.statuses.back();
}

std::vector<v1::AttemptStatus::State> FakeBackend::states(const std::string& attempt) const {
  const std::lock_guard lock(mutex_);
  std::vector<v1::AttemptStatus::State> states;
  const auto found = attempts_.find(attempt);
  if (found == attempts_.end()) return states;
  for (const auto& status : found->second.statuses) {
    if (states.empty() || states.back() != status.state()) states.push_back(status.state());
  }
  return states;
}

size_t FakeBackend::lines_at_end(const std::string& attempt) const {
  const std::lock_guard lock(mutex_);
  return attempts_.at(attempt).lines_at_end;
}

bool FakeBackend::has_session() const {
  const std::lock_guard lock(mutex_);
  return stream_ != nullptr;
}
int FakeBackend::joins() const {
  const std::lock_guard lock(mutex_);
  return joins_;
}
int FakeBackend::samples() const {
  const std::lock_guard lock(mutex_);
  return samples_;
}
v1::AgentMessage::Hello FakeBackend::last_hello() const {
  const std::lock_guard lock(mutex_);
  return hello_;
}
std::string FakeBackend::problem() const {
  const std::lock_guard lock(mutex_);
  return problem_;
}
std::map<std::string, std::map<std::string, std::string>> FakeBackend::uploaded() const {
  const std::lock_guard lock(mutex_);
  return uploaded_;
}

}  // namespace slipway::node
