#include "backend/rpc/model_adapter.h"

#include "backend/rpc/artifact_adapter.h"
#include "backend/rpc/times.h"
#include "backend/rpc/unary.h"
#include "backend/rpc/views.h"

namespace slipway::rpc {

void ModelAdapter::fill_version(const store::ModelVersion& version, bool with_files, v1::ModelVersion* message) {
  message->set_id(version.id);
  message->set_model_id(version.model_id);
  message->set_model_name(version.model_name);
  message->set_version(static_cast<int32_t>(version.version));
  message->set_kind(version.adapter ? v1::MODEL_KIND_ADAPTER : v1::MODEL_KIND_BASE);
  message->mutable_artifact()->set_id(version.artifact_id);
  message->mutable_artifact()->set_size(version.size_bytes);
  if (with_files) {
    // A version stays readable when its files are damaged: it then names none.
    if (const auto artifact = store_.get(version.artifact_id); artifact.ok()) {
      fill_artifact(*artifact, message->mutable_artifact());
    }
  }
  set_time(message->mutable_created_at(), version.created_at_ms);
  message->set_family(version.family);
  message->set_parameter_count(version.parameter_count);
  message->set_context_length(version.context_length);
  message->set_format(version.format);
  message->set_has_chat_template(version.has_chat_template);
  message->set_base_version_id(version.base_version_id);
  message->set_run_id(version.run_id);
  for (const auto& [name, value] : version.metrics) (*message->mutable_metrics())[name] = value;
  message->set_description(version.description);
  message->set_reward(version.reward);
}

void ModelAdapter::fill_model(const service::ModelOverview& overview, v1::Model* message) {
  message->set_id(overview.model.id);
  message->set_name(overview.model.name);
  message->set_description(overview.model.description);
  set_time(message->mutable_created_at(), overview.model.created_at_ms);
  fill_version(overview.latest, false, message->mutable_latest_version());
  message->set_version_count(static_cast<int32_t>(overview.version_count));
}

grpc::ServerUnaryReactor* ModelAdapter::ImportModel(grpc::CallbackServerContext* context,
                                                    const v1::ImportModelRequest* request, v1::ModelVersion* response) {
  return unary(context, gate_, [=, this]() -> absl::Status {
    const auto version = models_.import(request->name(), request->artifact_id(), request->description());
    if (!version.ok()) return version.status();
    fill_version(*version, true, response);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* ModelAdapter::GetModel(grpc::CallbackServerContext* context,
                                                 const v1::GetModelRequest* request, v1::Model* response) {
  return unary(context, gate_, [=, this]() -> absl::Status {
    const auto model = models_.get(request->id());
    if (!model.ok()) return model.status();
    fill_model(*model, response);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* ModelAdapter::ListModels(grpc::CallbackServerContext* context,
                                                   const v1::ListModelsRequest* request,
                                                   v1::ListModelsResponse* response) {
  return unary(context, gate_, [=, this]() -> absl::Status {
    const auto page = models_.list(page_request(request->page()));
    if (!page.ok()) return page.status();
    for (const service::ModelOverview& model : page->rows) fill_model(model, response->add_models());
    fill_page(page->next_page_token, page->total, response->mutable_page());
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* ModelAdapter::ListModelVersions(grpc::CallbackServerContext* context,
                                                          const v1::ListModelVersionsRequest* request,
                                                          v1::ListModelVersionsResponse* response) {
  return unary(context, gate_, [=, this]() -> absl::Status {
    const auto page = models_.list_versions(request->model_id(), page_request(request->page()));
    if (!page.ok()) return page.status();
    for (const store::ModelVersion& version : page->rows) fill_version(version, false, response->add_versions());
    fill_page(page->next_page_token, page->total, response->mutable_page());
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* ModelAdapter::GetModelVersion(grpc::CallbackServerContext* context,
                                                        const v1::GetModelVersionRequest* request,
                                                        v1::ModelVersion* response) {
  return unary(context, gate_, [=, this]() -> absl::Status {
    const auto version = models_.get_version(request->id());
    if (!version.ok()) return version.status();
    fill_version(*version, true, response);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* ModelAdapter::GetLineage(grpc::CallbackServerContext* context,
                                                   const v1::GetLineageRequest* request, v1::Lineage* response) {
  return unary(context, gate_, [=, this]() -> absl::Status {
    const auto lineage = models_.lineage(request->id());
    if (!lineage.ok()) return lineage.status();
    for (const store::LineageNode& node : lineage->nodes) {
      v1::LineageNode* added = response->add_nodes();
      added->set_id(node.id);
      added->set_kind(node.kind);
      added->set_label(node.label);
    }
    for (const store::LineageEdge& edge : lineage->edges) {
      v1::LineageEdge* added = response->add_edges();
      added->set_from_id(edge.from_id);
      added->set_to_id(edge.to_id);
      added->set_relation(edge.relation);
    }
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* ModelAdapter::DeleteModel(grpc::CallbackServerContext* context,
                                                    const v1::DeleteModelRequest* request, v1::DeleteModelResponse*) {
  return unary(context, gate_, [=, this] { return models_.remove(request->id()); });
}

}  // namespace slipway::rpc
