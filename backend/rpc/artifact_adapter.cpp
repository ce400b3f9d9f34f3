#include "backend/rpc/artifact_adapter.h"

#include <memory>
#include <utility>

#include "backend/base/status.h"
#include "backend/rpc/times.h"
#include "backend/rpc/unary.h"

namespace slipway::rpc {
namespace {

constexpr size_t kMaxPieceBytes = 1 << 20;
constexpr size_t kDownloadPieceBytes = 256 << 10;

void fill_upload(const artifacts::UploadState& upload, v1::Upload* message) {
  message->set_id(upload.id);
  for (size_t i = 0; i < upload.files.size(); ++i) {
    v1::Upload::UploadFileState* file = message->add_files();
    file->set_path(upload.files[i].path);
    file->set_size(upload.files[i].size);
    file->set_received(upload.received[i]);
  }
}

// One message at a time: read, written on a worker, then the next. Deletes itself.
class UploadReactor final : public grpc::ServerReadReactor<v1::UploadFileRequest> {
 public:
  UploadReactor(grpc::CallbackServerContext* context, Gate gate, artifacts::ArtifactStore& store,
                v1::UploadFileResponse* response)
      : context_(context), gate_(gate), store_(store), response_(response) {
    StartRead(&message_);
  }

  void OnReadDone(bool ok) override {
    gate_.workers.post([this, ok] { ok ? take() : end(); });
  }
  void OnDone() override { delete this; }

 private:
  void take() {
    absl::Status status = writer_ ? absl::OkStatus() : open();
    if (status.ok() && message_.data().size() > kMaxPieceBytes) {
      status = base::invalid_argument("data", "a message holds more than 1 MiB of data", "send smaller pieces");
    }
    if (status.ok()) status = writer_->write(message_.data());
    if (status.ok()) return StartRead(&message_);
    writer_.reset();
    Finish(to_grpc(status));
  }

  absl::Status open() {
    const auto caller = gate_.authenticator.authenticate(*context_, Access::kUserOrNode);
    if (!caller.ok()) return caller.status();
    auto writer = store_.write_file(message_.upload_id(), message_.file_index(), message_.offset());
    if (!writer.ok()) return writer.status();
    writer_ = *std::move(writer);
    return absl::OkStatus();
  }

  void end() {
    if (!writer_) {
      // Not one message came. Who may not call hears that first, as everywhere.
      const auto caller = gate_.authenticator.authenticate(*context_, Access::kUserOrNode);
      return Finish(to_grpc(caller.ok() ? base::invalid_argument("upload_id", "no message came",
                                                                 "send upload_id and file_index in the first message")
                                        : caller.status()));
    }
    response_->set_received(writer_->received());
    writer_.reset();
    Finish(grpc::Status::OK);
  }

  grpc::CallbackServerContext* context_;
  Gate gate_;
  artifacts::ArtifactStore& store_;
  v1::UploadFileResponse* response_;
  v1::UploadFileRequest message_;
  std::unique_ptr<artifacts::FileWriter> writer_;
};

// One piece at a time: read on a worker, sent, then the next. Deletes itself.
class DownloadReactor final : public grpc::ServerWriteReactor<v1::DownloadFileResponse> {
 public:
  DownloadReactor(grpc::CallbackServerContext* context, Gate gate, artifacts::ArtifactStore& store,
                  const v1::DownloadFileRequest* request)
      : context_(context), gate_(gate), store_(store), request_(request) {
    gate_.workers.post([this] { open(); });
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return Finish({grpc::StatusCode::CANCELLED, "the client has left"});
    gate_.workers.post([this] { send_next(); });
  }
  void OnDone() override { delete this; }

 private:
  void open() {
    const auto caller = gate_.authenticator.authenticate(*context_, Access::kUserOrNode);
    if (!caller.ok()) return Finish(to_grpc(caller.status()));
    auto reader = store_.read_file(request_->artifact_id(), request_->path(), request_->offset());
    if (!reader.ok()) return Finish(to_grpc(reader.status()));
    reader_ = *std::move(reader);
    send_next();
  }

  void send_next() {
    auto piece = reader_->read(kDownloadPieceBytes);
    if (!piece.ok()) return Finish(to_grpc(piece.status()));
    if (piece->empty()) return Finish(grpc::Status::OK);
    message_.set_data(*std::move(piece));
    StartWrite(&message_);
  }

  grpc::CallbackServerContext* context_;
  Gate gate_;
  artifacts::ArtifactStore& store_;
  const v1::DownloadFileRequest* request_;
  v1::DownloadFileResponse message_;
  std::unique_ptr<artifacts::FileReader> reader_;
};

}  // namespace

void fill_artifact(const artifacts::Artifact& artifact, v1::Artifact* message) {
  message->set_id(artifact.id);
  message->set_size(artifact.manifest.size());
  set_time(message->mutable_created_at(), artifact.created_at_ms);
  for (const artifacts::FileEntry& file : artifact.manifest.files) {
    v1::ArtifactFile* added = message->add_files();
    added->set_path(file.path);
    added->set_size(file.size);
    added->set_sha256(file.sha256);
  }
}

grpc::ServerUnaryReactor* ArtifactAdapter::BeginUpload(grpc::CallbackServerContext* context,
                                                       const v1::BeginUploadRequest* request, v1::Upload* response) {
  return unary(context, gate_, Access::kUserOrNode, [=, this]() -> absl::Status {
    std::vector<artifacts::FileEntry> files;
    for (const v1::ArtifactFile& file : request->files()) files.push_back({file.path(), file.size(), file.sha256()});
    const auto upload = store_.begin_upload(request->upload_id(), files);
    if (!upload.ok()) return upload.status();
    fill_upload(*upload, response);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* ArtifactAdapter::GetUpload(grpc::CallbackServerContext* context,
                                                     const v1::GetUploadRequest* request, v1::Upload* response) {
  return unary(context, gate_, Access::kUserOrNode, [=, this]() -> absl::Status {
    const auto upload = store_.get_upload(request->upload_id());
    if (!upload.ok()) return upload.status();
    fill_upload(*upload, response);
    return absl::OkStatus();
  });
}

grpc::ServerReadReactor<v1::UploadFileRequest>* ArtifactAdapter::UploadFile(grpc::CallbackServerContext* context,
                                                                            v1::UploadFileResponse* response) {
  return new UploadReactor(context, gate_, store_, response);
}

grpc::ServerUnaryReactor* ArtifactAdapter::FinishUpload(grpc::CallbackServerContext* context,
                                                        const v1::FinishUploadRequest* request,
                                                        v1::Artifact* response) {
  return unary(context, gate_, Access::kUserOrNode, [=, this]() -> absl::Status {
    const auto artifact = store_.finish_upload(request->upload_id());
    if (!artifact.ok()) return artifact.status();
    fill_artifact(*artifact, response);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* ArtifactAdapter::CancelUpload(grpc::CallbackServerContext* context,
                                                        const v1::CancelUploadRequest* request,
                                                        v1::CancelUploadResponse*) {
  return unary(context, gate_, Access::kUserOrNode, [=, this] { return store_.cancel_upload(request->upload_id()); });
}

grpc::ServerUnaryReactor* ArtifactAdapter::GetArtifact(grpc::CallbackServerContext* context,
                                                       const v1::GetArtifactRequest* request, v1::Artifact* response) {
  return unary(context, gate_, Access::kUserOrNode, [=, this]() -> absl::Status {
    const auto artifact = store_.get(request->id());
    if (!artifact.ok()) return artifact.status();
    fill_artifact(*artifact, response);
    return absl::OkStatus();
  });
}

grpc::ServerWriteReactor<v1::DownloadFileResponse>* ArtifactAdapter::DownloadFile(
    grpc::CallbackServerContext* context, const v1::DownloadFileRequest* request) {
  return new DownloadReactor(context, gate_, store_, request);
}

}  // namespace slipway::rpc
