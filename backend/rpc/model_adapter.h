// ModelService over gRPC.
#pragma once

#include "backend/artifacts/artifact_store.h"
#include "backend/rpc/gate.h"
#include "backend/service/models.h"
#include "slipway/v1/model.grpc.pb.h"

namespace slipway::rpc {

class ModelAdapter final : public v1::ModelService::CallbackService {
 public:
  ModelAdapter(Gate gate, service::Models& models, artifacts::ArtifactStore& store)
      : gate_(gate), models_(models), store_(store) {}

  grpc::ServerUnaryReactor* ImportModel(grpc::CallbackServerContext* context, const v1::ImportModelRequest* request,
                                        v1::ModelVersion* response) override;
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context, const v1::GetModelRequest* request,
                                     v1::Model* response) override;
  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context, const v1::ListModelsRequest* request,
                                       v1::ListModelsResponse* response) override;
  grpc::ServerUnaryReactor* ListModelVersions(grpc::CallbackServerContext* context,
                                              const v1::ListModelVersionsRequest* request,
                                              v1::ListModelVersionsResponse* response) override;
  grpc::ServerUnaryReactor* GetModelVersion(grpc::CallbackServerContext* context,
                                            const v1::GetModelVersionRequest* request,
                                            v1::ModelVersion* response) override;
  grpc::ServerUnaryReactor* GetLineage(grpc::CallbackServerContext* context, const v1::GetLineageRequest* request,
                                       v1::Lineage* response) override;
  grpc::ServerUnaryReactor* DeleteModel(grpc::CallbackServerContext* context, const v1::DeleteModelRequest* request,
                                        v1::DeleteModelResponse* response) override;

 private:
  // with_files: the artifact's files too, not its id and size alone.
  void fill_version(const store::ModelVersion& version, bool with_files, v1::ModelVersion* message);
  void fill_model(const service::ModelOverview& overview, v1::Model* message);

  Gate gate_;
  service::Models& models_;
  artifacts::ArtifactStore& store_;
};

}  // namespace slipway::rpc
