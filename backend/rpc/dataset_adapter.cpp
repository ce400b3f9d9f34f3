#include "backend/rpc/dataset_adapter.h"

#include "backend/rpc/artifact_adapter.h"
#include "backend/rpc/times.h"
#include "backend/rpc/unary.h"
#include "backend/rpc/views.h"

namespace slipway::rpc {
namespace {

service::ColumnMapping read_mapping(const v1::ColumnMapping& message) {
  service::ColumnMapping mapping;
  mapping.format = message.format();
  for (const auto& [role, column] : message.roles()) mapping.roles[role] = column;
  return mapping;
}

void fill_mapping(const std::string& format, const std::map<std::string, std::string>& roles,
                  v1::ColumnMapping* message) {
  message->set_format(format);
  for (const auto& [role, column] : roles) (*message->mutable_roles())[role] = column;
}

void fill_row(const service::PreviewRow& row, v1::PreviewRow* message) {
  message->set_json(row.json);
  message->set_rendered(row.rendered);
  message->set_problem(row.problem);
  for (const service::PreviewToken& token : row.tokens) {
    v1::PreviewToken* added = message->add_tokens();
    added->set_id(token.id);
    added->set_text(token.text);
    added->set_trained(token.trained);
  }
  for (const service::PreviewMessage& part : row.messages) {
    v1::PreviewMessage* added = message->add_messages();
    added->set_role(part.role);
    added->set_content(part.content);
  }
}

}  // namespace

void DatasetAdapter::fill_version(const store::DatasetVersion& version, bool with_files, v1::DatasetVersion* message) {
  message->set_id(version.id);
  message->set_dataset_id(version.dataset_id);
  message->set_dataset_name(version.dataset_name);
  message->set_version(static_cast<int32_t>(version.version));
  message->mutable_artifact()->set_id(version.artifact_id);
  if (with_files) {
    // A version stays readable when its files are damaged: it then names none.
    if (const auto artifact = store_.get(version.artifact_id); artifact.ok()) {
      fill_artifact(*artifact, message->mutable_artifact());
    }
  }
  fill_mapping(version.format, version.roles, message->mutable_mapping());
  message->set_row_count(version.row_count);
  set_time(message->mutable_created_at(), version.created_at_ms);
  message->set_run_id(version.run_id);
}

void DatasetAdapter::fill_dataset(const service::DatasetOverview& overview, v1::Dataset* message) {
  message->set_id(overview.dataset.id);
  message->set_name(overview.dataset.name);
  message->set_description(overview.dataset.description);
  set_time(message->mutable_created_at(), overview.dataset.created_at_ms);
  fill_version(overview.latest, false, message->mutable_latest_version());
  message->set_version_count(static_cast<int32_t>(overview.version_count));
}

grpc::ServerUnaryReactor* DatasetAdapter::ImportDataset(grpc::CallbackServerContext* context,
                                                        const v1::ImportDatasetRequest* request,
                                                        v1::DatasetVersion* response) {
  return unary(context, gate_, [=, this]() -> absl::Status {
    const auto version = datasets_.import(request->name(), request->artifact_id(), read_mapping(request->mapping()),
                                          request->description());
    if (!version.ok()) return version.status();
    fill_version(*version, true, response);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* DatasetAdapter::PreviewDataset(grpc::CallbackServerContext* context,
                                                         const v1::PreviewDatasetRequest* request,
                                                         v1::PreviewDatasetResponse* response) {
  return unary(context, gate_, [=, this]() -> absl::Status {
    service::PreviewRequest wanted;
    wanted.artifact_id = request->artifact_id();
    wanted.dataset_version_id = request->dataset_version_id();
    wanted.mapping = read_mapping(request->mapping());
    wanted.model_version_id = request->model_version_id();
    wanted.rows = request->rows();
    wanted.offset = request->offset();
    const auto preview = datasets_.preview(wanted);
    if (!preview.ok()) return preview.status();
    for (const std::string& column : preview->columns) response->add_columns(column);
    fill_mapping(preview->mapping.format, preview->mapping.roles, response->mutable_mapping());
    for (const service::PreviewRow& row : preview->rows) fill_row(row, response->add_rows());
    response->set_row_count(preview->row_count);
    for (const std::string& problem : preview->problems) response->add_problems(problem);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* DatasetAdapter::GetDataset(grpc::CallbackServerContext* context,
                                                     const v1::GetDatasetRequest* request, v1::Dataset* response) {
  return unary(context, gate_, [=, this]() -> absl::Status {
    const auto dataset = datasets_.get(request->id());
    if (!dataset.ok()) return dataset.status();
    fill_dataset(*dataset, response);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* DatasetAdapter::ListDatasets(grpc::CallbackServerContext* context,
                                                       const v1::ListDatasetsRequest* request,
                                                       v1::ListDatasetsResponse* response) {
  return unary(context, gate_, [=, this]() -> absl::Status {
    const auto page = datasets_.list(page_request(request->page()));
    if (!page.ok()) return page.status();
    for (const service::DatasetOverview& dataset : page->rows) fill_dataset(dataset, response->add_datasets());
    fill_page(page->next_page_token, page->total, response->mutable_page());
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* DatasetAdapter::ListDatasetVersions(grpc::CallbackServerContext* context,
                                                              const v1::ListDatasetVersionsRequest* request,
                                                              v1::ListDatasetVersionsResponse* response) {
  return unary(context, gate_, [=, this]() -> absl::Status {
    const auto page = datasets_.list_versions(request->dataset_id(), page_request(request->page()));
    if (!page.ok()) return page.status();
    for (const store::DatasetVersion& version : page->rows) fill_version(version, false, response->add_versions());
    fill_page(page->next_page_token, page->total, response->mutable_page());
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* DatasetAdapter::GetDatasetVersion(grpc::CallbackServerContext* context,
                                                            const v1::GetDatasetVersionRequest* request,
                                                            v1::DatasetVersion* response) {
  return unary(context, gate_, [=, this]() -> absl::Status {
    const auto version = datasets_.get_version(request->id());
    if (!version.ok()) return version.status();
    fill_version(*version, true, response);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* DatasetAdapter::DeleteDataset(grpc::CallbackServerContext* context,
                                                        const v1::DeleteDatasetRequest* request,
                                                        v1::DeleteDatasetResponse*) {
  return unary(context, gate_, [=, this] { return datasets_.remove(request->id()); });
}

}  // namespace slipway::rpc
