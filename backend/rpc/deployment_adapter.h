// DeploymentService over gRPC.
#pragma once

#include "backend/rpc/gate.h"
#include "backend/service/deployment_keys.h"
#include "backend/service/deployments.h"
#include "slipway/v1/deployment.grpc.pb.h"

namespace slipway::rpc {

class DeploymentAdapter final : public v1::DeploymentService::CallbackService {
 public:
  DeploymentAdapter(Gate gate, service::Deployments& deployments, service::DeploymentKeys& keys)
      : gate_(gate), deployments_(deployments), keys_(keys) {}

  grpc::ServerUnaryReactor* CreateDeployment(grpc::CallbackServerContext* context,
                                             const v1::CreateDeploymentRequest* request,
                                             v1::Deployment* response) override;
  grpc::ServerUnaryReactor* UpdateDeployment(grpc::CallbackServerContext* context,
                                             const v1::UpdateDeploymentRequest* request,
                                             v1::Deployment* response) override;
  grpc::ServerUnaryReactor* GetDeployment(grpc::CallbackServerContext* context, const v1::GetDeploymentRequest* request,
                                          v1::Deployment* response) override;
  grpc::ServerUnaryReactor* ListDeployments(grpc::CallbackServerContext* context,
                                            const v1::ListDeploymentsRequest* request,
                                            v1::ListDeploymentsResponse* response) override;
  grpc::ServerUnaryReactor* StopDeployment(grpc::CallbackServerContext* context,
                                           const v1::StopDeploymentRequest* request, v1::Deployment* response) override;
  grpc::ServerUnaryReactor* StartDeployment(grpc::CallbackServerContext* context,
                                            const v1::StartDeploymentRequest* request,
                                            v1::Deployment* response) override;
  grpc::ServerUnaryReactor* LoadAdapter(grpc::CallbackServerContext* context, const v1::LoadAdapterRequest* request,
                                        v1::Deployment* response) override;
  grpc::ServerUnaryReactor* UnloadAdapter(grpc::CallbackServerContext* context, const v1::UnloadAdapterRequest* request,
                                          v1::Deployment* response) override;
  grpc::ServerUnaryReactor* ListDeploymentSamples(grpc::CallbackServerContext* context,
                                                  const v1::ListDeploymentSamplesRequest* request,
                                                  v1::ListDeploymentSamplesResponse* response) override;
  grpc::ServerUnaryReactor* DeleteDeployment(grpc::CallbackServerContext* context,
                                             const v1::DeleteDeploymentRequest* request,
                                             v1::DeleteDeploymentResponse* response) override;
  grpc::ServerUnaryReactor* CreateDeploymentKey(grpc::CallbackServerContext* context,
                                                const v1::CreateDeploymentKeyRequest* request,
                                                v1::CreateDeploymentKeyResponse* response) override;
  grpc::ServerUnaryReactor* ListDeploymentKeys(grpc::CallbackServerContext* context,
                                               const v1::ListDeploymentKeysRequest* request,
                                               v1::ListDeploymentKeysResponse* response) override;
  grpc::ServerUnaryReactor* RevokeDeploymentKey(grpc::CallbackServerContext* context,
                                                const v1::RevokeDeploymentKeyRequest* request,
                                                v1::RevokeDeploymentKeyResponse* response) override;

 private:
  Gate gate_;
  service::Deployments& deployments_;
  service::DeploymentKeys& keys_;
};

}  // namespace slipway::rpc
