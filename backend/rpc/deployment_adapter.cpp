#include "backend/rpc/deployment_adapter.h"

#include "backend/rpc/times.h"
#include "backend/rpc/unary.h"
#include "backend/rpc/views.h"

namespace slipway::rpc {
namespace {

absl::Status answer(const absl::StatusOr<service::DeploymentView>& view, v1::Deployment* response) {
  if (view.ok()) fill(*view, response);
  return view.status();
}

domain::ServingSettings settings_from(const v1::ServingSettings& message) {
  return {message.dtype(), message.kv_cache_dtype(),  message.max_model_len(), message.max_num_seqs(),
          message.queue(), message.kv_cache_tokens(), message.threads(),       message.speculative_tokens()};
}

void fill_key(const store::DeploymentKeyRecord& key, v1::DeploymentKey* message) {
  message->set_id(key.id);
  message->set_name(key.name);
  message->set_deployment_id(key.deployment_id);
  set_time(message->mutable_created_at(), key.created_at_ms);
  if (key.last_used_at_ms != 0) set_time(message->mutable_last_used_at(), key.last_used_at_ms);
}

}  // namespace

grpc::ServerUnaryReactor* DeploymentAdapter::CreateDeployment(grpc::CallbackServerContext* context,
                                                              const v1::CreateDeploymentRequest* request,
                                                              v1::Deployment* response) {
  return unary(context, gate_, [=, this] {
    return answer(deployments_.create(request->name(), request->model_version_id(), settings_from(request->settings())),
                  response);
  });
}

grpc::ServerUnaryReactor* DeploymentAdapter::UpdateDeployment(grpc::CallbackServerContext* context,
                                                              const v1::UpdateDeploymentRequest* request,
                                                              v1::Deployment* response) {
  return unary(context, gate_, [=, this] {
    std::optional<domain::ServingSettings> settings;
    if (request->has_settings()) settings = settings_from(request->settings());
    return answer(deployments_.update(request->id(), request->model_version_id(), settings), response);
  });
}

grpc::ServerUnaryReactor* DeploymentAdapter::GetDeployment(grpc::CallbackServerContext* context,
                                                           const v1::GetDeploymentRequest* request,
                                                           v1::Deployment* response) {
  return unary(context, gate_, [=, this] { return answer(deployments_.get(request->id()), response); });
}

grpc::ServerUnaryReactor* DeploymentAdapter::ListDeployments(grpc::CallbackServerContext* context,
                                                             const v1::ListDeploymentsRequest* request,
                                                             v1::ListDeploymentsResponse* response) {
  return unary(context, gate_, [=, this]() -> absl::Status {
    const auto page = deployments_.list(page_request(request->page()));
    if (!page.ok()) return page.status();
    for (const service::DeploymentView& view : page->rows) fill(view, response->add_deployments());
    fill_page(page->next_page_token, page->total, response->mutable_page());
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* DeploymentAdapter::StopDeployment(grpc::CallbackServerContext* context,
                                                            const v1::StopDeploymentRequest* request,
                                                            v1::Deployment* response) {
  return unary(context, gate_, [=, this] { return answer(deployments_.stop(request->id()), response); });
}

grpc::ServerUnaryReactor* DeploymentAdapter::StartDeployment(grpc::CallbackServerContext* context,
                                                             const v1::StartDeploymentRequest* request,
                                                             v1::Deployment* response) {
  return unary(context, gate_, [=, this] { return answer(deployments_.start(request->id()), response); });
}

grpc::ServerUnaryReactor* DeploymentAdapter::LoadAdapter(grpc::CallbackServerContext* context,
                                                         const v1::LoadAdapterRequest* request,
                                                         v1::Deployment* response) {
  return unary(context, gate_, [=, this] {
    return answer(deployments_.load_adapter(request->deployment_id(), request->name(), request->model_version_id()),
                  response);
  });
}

grpc::ServerUnaryReactor* DeploymentAdapter::UnloadAdapter(grpc::CallbackServerContext* context,
                                                           const v1::UnloadAdapterRequest* request,
                                                           v1::Deployment* response) {
  return unary(context, gate_, [=, this] {
    return answer(deployments_.unload_adapter(request->deployment_id(), request->name()), response);
  });
}

grpc::ServerUnaryReactor* DeploymentAdapter::ListDeploymentSamples(grpc::CallbackServerContext* context,
                                                                   const v1::ListDeploymentSamplesRequest* request,
                                                                   v1::ListDeploymentSamplesResponse* response) {
  return unary(context, gate_, [=, this]() -> absl::Status {
    const auto samples =
        deployments_.samples(request->deployment_id(), request->since().seconds() * 1000, request->max_points());
    if (!samples.ok()) return samples.status();
    for (const domain::ServingSample& sample : *samples) fill(sample, response->add_samples());
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* DeploymentAdapter::DeleteDeployment(grpc::CallbackServerContext* context,
                                                              const v1::DeleteDeploymentRequest* request,
                                                              v1::DeleteDeploymentResponse*) {
  return unary(context, gate_, [=, this] { return deployments_.remove(request->id()); });
}

grpc::ServerUnaryReactor* DeploymentAdapter::CreateDeploymentKey(grpc::CallbackServerContext* context,
                                                                 const v1::CreateDeploymentKeyRequest* request,
                                                                 v1::CreateDeploymentKeyResponse* response) {
  return unary(context, gate_, [=, this]() -> absl::Status {
    const auto deployment = deployments_.get(request->deployment_id());
    if (!deployment.ok()) return deployment.status();
    const auto key = keys_.create(deployment->deployment.id, request->name());
    if (!key.ok()) return key.status();
    fill_key(key->record, response->mutable_key());
    response->set_secret(key->secret);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* DeploymentAdapter::ListDeploymentKeys(grpc::CallbackServerContext* context,
                                                                const v1::ListDeploymentKeysRequest* request,
                                                                v1::ListDeploymentKeysResponse* response) {
  return unary(context, gate_, [=, this]() -> absl::Status {
    const auto deployment = deployments_.get(request->deployment_id());
    if (!deployment.ok()) return deployment.status();
    const auto keys = keys_.list(deployment->deployment.id);
    if (!keys.ok()) return keys.status();
    for (const store::DeploymentKeyRecord& key : *keys) fill_key(key, response->add_keys());
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* DeploymentAdapter::RevokeDeploymentKey(grpc::CallbackServerContext* context,
                                                                 const v1::RevokeDeploymentKeyRequest* request,
                                                                 v1::RevokeDeploymentKeyResponse*) {
  return unary(context, gate_, [=, this] { return keys_.revoke(request->id()); });
}

}  // namespace slipway::rpc
