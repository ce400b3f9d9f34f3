// DatasetService over gRPC.
#pragma once

#include "backend/artifacts/artifact_store.h"
#include "backend/rpc/gate.h"
#include "backend/service/datasets.h"
#include "slipway/v1/dataset.grpc.pb.h"

namespace slipway::rpc {

class DatasetAdapter final : public v1::DatasetService::CallbackService {
 public:
  DatasetAdapter(Gate gate, service::Datasets& datasets, artifacts::ArtifactStore& store)
      : gate_(gate), datasets_(datasets), store_(store) {}

  grpc::ServerUnaryReactor* ImportDataset(grpc::CallbackServerContext* context, const v1::ImportDatasetRequest* request,
                                          v1::DatasetVersion* response) override;
  grpc::ServerUnaryReactor* PreviewDataset(grpc::CallbackServerContext* context,
                                           const v1::PreviewDatasetRequest* request,
                                           v1::PreviewDatasetResponse* response) override;
  grpc::ServerUnaryReactor* GetDataset(grpc::CallbackServerContext* context, const v1::GetDatasetRequest* request,
                                       v1::Dataset* response) override;
  grpc::ServerUnaryReactor* ListDatasets(grpc::CallbackServerContext* context, const v1::ListDatasetsRequest* request,
                                         v1::ListDatasetsResponse* response) override;
  grpc::ServerUnaryReactor* ListDatasetVersions(grpc::CallbackServerContext* context,
                                                const v1::ListDatasetVersionsRequest* request,
                                                v1::ListDatasetVersionsResponse* response) override;
  grpc::ServerUnaryReactor* GetDatasetVersion(grpc::CallbackServerContext* context,
                                              const v1::GetDatasetVersionRequest* request,
                                              v1::DatasetVersion* response) override;
  grpc::ServerUnaryReactor* DeleteDataset(grpc::CallbackServerContext* context, const v1::DeleteDatasetRequest* request,
                                          v1::DeleteDatasetResponse* response) override;

 private:
  void fill_version(const store::DatasetVersion& version, bool with_files, v1::DatasetVersion* message);
  void fill_dataset(const service::DatasetOverview& overview, v1::Dataset* message);

  Gate gate_;
  service::Datasets& datasets_;
  artifacts::ArtifactStore& store_;
};

}  // namespace slipway::rpc
