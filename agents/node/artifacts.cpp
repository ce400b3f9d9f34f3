#include "agents/node/artifacts.h"

#include <fcntl.h>
#include <grpcpp/client_context.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "agents/node/rpc_status.h"
#include "slipway/v1/artifact.grpc.pb.h"

namespace slipway::node {
namespace {

constexpr size_t kPieceBytes = 512 * 1024;
constexpr std::chrono::seconds kUnaryDeadline{120};  // FinishUpload hashes large files

class GrpcArtifacts : public Artifacts {
 public:
  GrpcArtifacts(std::shared_ptr<grpc::Channel> channel, std::function<std::string()> token)
      : stub_(v1::ArtifactService::NewStub(std::move(channel))), token_(std::move(token)) {}

  absl::StatusOr<v1::Artifact> get(const std::string& id, Cancellation& cancellation) override {
    v1::GetArtifactRequest request;
    request.set_id(id);
    v1::Artifact response;
    const auto status = unary(
        cancellation, [&](grpc::ClientContext* context) { return stub_->GetArtifact(context, request, &response); });
    if (!status.ok()) return status;
    return response;
  }

  absl::Status download(const std::string& id, const std::string& path, int64_t offset,
                        const std::function<absl::Status(std::string_view)>& sink,
                        Cancellation& cancellation) override {
    grpc::ClientContext context;
    authorize(context);
    const Cancellation::Scope scope(cancellation, [&] { context.TryCancel(); });
    v1::DownloadFileRequest request;
    request.set_artifact_id(id);
    request.set_path(path);
    request.set_offset(offset);
    const auto reader = stub_->DownloadFile(&context, request);
    v1::DownloadFileResponse response;
    absl::Status sunk;
    while (reader->Read(&response)) {
      sunk = sink(response.data());
      if (!sunk.ok()) {
        context.TryCancel();
        break;
      }
    }
    const auto status = reader->Finish();
    return sunk.ok() ? to_absl(status) : sunk;
  }

  absl::StatusOr<v1::Upload> begin_upload(const v1::BeginUploadRequest& request, Cancellation& cancellation) override {
    v1::Upload response;
    const auto status = unary(
        cancellation, [&](grpc::ClientContext* context) { return stub_->BeginUpload(context, request, &response); });
    if (!status.ok()) return status;
    return response;
  }

  absl::Status upload_file(const std::string& upload_id, int file_index, int64_t offset,
                           const std::filesystem::path& file, Cancellation& cancellation) override {
    const int fd = open(file.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return absl::NotFoundError("open " + file.string() + ": " + std::strerror(errno));
    grpc::ClientContext context;
    authorize(context);
    const Cancellation::Scope scope(cancellation, [&] { context.TryCancel(); });
    v1::UploadFileResponse response;
    const auto writer = stub_->UploadFile(&context, &response);
    v1::UploadFileRequest request;
    request.set_upload_id(upload_id);
    request.set_file_index(file_index);
    request.set_offset(offset);
    std::string piece;
    bool open_stream = true;
    int failure = 0;
    while (open_stream) {
      piece.resize(kPieceBytes);
      const ssize_t got = pread(fd, piece.data(), piece.size(), offset);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) failure = errno;
      if (got <= 0) break;
      piece.resize(static_cast<size_t>(got));
      offset += got;
      request.set_data(std::move(piece));
      open_stream = writer->Write(request);
      request.Clear();
      piece.clear();
    }
    close(fd);
    if (failure != 0) {
      context.TryCancel();
      static_cast<void>(writer->Finish());
      return absl::InternalError("read " + file.string() + ": " + std::strerror(failure));
    }
    writer->WritesDone();
    return to_absl(writer->Finish());
  }

  absl::StatusOr<v1::Artifact> finish_upload(const std::string& upload_id, Cancellation& cancellation) override {
    v1::FinishUploadRequest request;
    request.set_upload_id(upload_id);
    v1::Artifact response;
    const auto status = unary(
        cancellation, [&](grpc::ClientContext* context) { return stub_->FinishUpload(context, request, &response); });
    if (!status.ok()) return status;
    return response;
  }

 private:
  void authorize(grpc::ClientContext& context) const { context.AddMetadata("authorization", "Bearer " + token_()); }

  template <typename Call>
  absl::Status unary(Cancellation& cancellation, const Call& call) const {
    grpc::ClientContext context;
    authorize(context);
    context.set_deadline(std::chrono::system_clock::now() + kUnaryDeadline);
    const Cancellation::Scope scope(cancellation, [&] { context.TryCancel(); });
    return to_absl(call(&context));
  }

  const std::unique_ptr<v1::ArtifactService::Stub> stub_;
  const std::function<std::string()> token_;
};

}  // namespace

std::unique_ptr<Artifacts> make_grpc_artifacts(std::shared_ptr<grpc::Channel> channel,
                                               std::function<std::string()> token) {
  return std::make_unique<GrpcArtifacts>(std::move(channel), std::move(token));
}

}  // namespace slipway::node
