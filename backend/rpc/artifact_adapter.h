// ArtifactService over gRPC: users and agents send and fetch the bytes of artifacts.
#pragma once

#include "backend/artifacts/artifact_store.h"
#include "backend/rpc/gate.h"
#include "slipway/v1/artifact.grpc.pb.h"

namespace slipway::rpc {

class ArtifactAdapter final : public v1::ArtifactService::CallbackService {
 public:
  ArtifactAdapter(Gate gate, artifacts::ArtifactStore& store) : gate_(gate), store_(store) {}

  grpc::ServerUnaryReactor* BeginUpload(grpc::CallbackServerContext* context, const v1::BeginUploadRequest* request,
                                        v1::Upload* response) override;
  grpc::ServerUnaryReactor* GetUpload(grpc::CallbackServerContext* context, const v1::GetUploadRequest* request,
                                      v1::Upload* response) override;
  grpc::ServerReadReactor<v1::UploadFileRequest>* UploadFile(grpc::CallbackServerContext* context,
                                                             v1::UploadFileResponse* response) override;
  grpc::ServerUnaryReactor* FinishUpload(grpc::CallbackServerContext* context, const v1::FinishUploadRequest* request,
                                         v1::Artifact* response) override;
  grpc::ServerUnaryReactor* CancelUpload(grpc::CallbackServerContext* context, const v1::CancelUploadRequest* request,
                                         v1::CancelUploadResponse* response) override;
  grpc::ServerUnaryReactor* GetArtifact(grpc::CallbackServerContext* context, const v1::GetArtifactRequest* request,
                                        v1::Artifact* response) override;
  grpc::ServerWriteReactor<v1::DownloadFileResponse>* DownloadFile(grpc::CallbackServerContext* context,
                                                                   const v1::DownloadFileRequest* request) override;

 private:
  Gate gate_;
  artifacts::ArtifactStore& store_;
};

void fill_artifact(const artifacts::Artifact& artifact, v1::Artifact* message);

}  // namespace slipway::rpc
