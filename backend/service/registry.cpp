#include "backend/service/registry.h"

#include "backend/base/ids.h"
#include "backend/base/status.h"
#include "backend/service/model_inspection.h"

namespace slipway::service {
namespace {

constexpr size_t kMaxNameBytes = 100;

absl::Status reference_not_found(const std::string& kind, const std::string& reference) {
  return base::not_found(kind, reference.substr(0, 2 * kMaxNameBytes));
}

}  // namespace

absl::Status check_name(const std::string& field, const std::string& name) {
  bool fine = !name.empty() && name.size() <= kMaxNameBytes;
  for (const char c : name) {
    fine = fine && ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                    c == '_' || c == '-');
  }
  if (fine) return absl::OkStatus();
  return base::invalid_argument(field, name.empty() ? "the name is missing" : "this name cannot be used",
                                "use 1 to 100 letters, digits, '.', '_' or '-'");
}

absl::StatusOr<ModelVersionFacts> Registry::find_model_version(store::Connection& connection,
                                                               const std::string& reference) {
  const auto version = store::find_model_version(connection, reference);
  if (!version) return reference_not_found("model version", reference);
  ModelVersionFacts facts;
  facts.id = version->id;
  facts.model_name = version->model_name;
  facts.label = version->label();
  facts.artifact_id = version->artifact_id;
  facts.path = version->path;
  facts.adapter = version->adapter;
  facts.quantised = version->format.starts_with(kQuantisedFormat);
  facts.reward = version->reward;
  facts.tasks = version->tasks;
  facts.base_version_id = version->base_version_id;
  facts.context_length = version->context_length;
  facts.parameter_count = version->parameter_count;
  facts.size_bytes = version->size_bytes;
  return facts;
}

absl::StatusOr<DatasetVersionFacts> Registry::find_dataset_version(store::Connection& connection,
                                                                   const std::string& reference) {
  const auto version = store::find_dataset_version(connection, reference);
  if (!version) return reference_not_found("dataset version", reference);
  DatasetVersionFacts facts;
  facts.id = version->id;
  facts.dataset_name = version->dataset_name;
  facts.label = version->label();
  facts.artifact_id = version->artifact_id;
  facts.path = version->path;
  facts.format = version->format;
  facts.roles = version->roles;
  facts.row_count = version->row_count;
  return facts;
}

absl::Status Registry::check_model_name(store::Connection&, const std::string& name) {
  return check_name("name", name);
}

absl::StatusOr<std::filesystem::path> Registry::local_path(const store::ModelVersion& version) {
  const auto view = store_.view(version.artifact_id);
  if (!view.ok()) return view.status();
  return version.path.empty() ? *view : *view / version.path;
}

void fill_version(const ModelInspection& inspection, const artifacts::Artifact& artifact,
                  store::ModelVersion& version) {
  version.artifact_id = artifact.id;
  version.size_bytes = artifact.manifest.size();
  version.path = inspection.path;
  version.adapter = inspection.adapter;
  version.reward = inspection.reward;
  version.tasks = inspection.tasks;
  version.family = inspection.family;
  version.parameter_count = inspection.parameter_count;
  version.context_length = inspection.context_length;
  version.format = inspection.format;
  version.has_chat_template = inspection.has_chat_template;
}

absl::StatusOr<std::string> Registry::register_version(store::Transaction& transaction,
                                                       const NewModelVersion& version) {
  if (absl::Status status = check_name("name", version.model_name); !status.ok()) return status;
  const auto artifact = store_.get(version.artifact_id);
  if (!artifact.ok()) return artifact.status();
  const auto view = store_.view(version.artifact_id);
  if (!view.ok()) return view.status();
  const auto inspection = inspect_model(*view, artifact->manifest);
  if (!inspection.ok()) return inspection.status();
  if (inspection->adapter != version.adapter) {
    return base::failed_precondition(
        "WRONG_MODEL_KIND",
        std::string("the run's artifact is ") + (inspection->adapter ? "an adapter" : "a whole model"),
        "look at the outputs of the workflow's training task");
  }
  store::ModelVersion added;
  fill_version(*inspection, *artifact, added);
  added.base_version_id = version.base_version_id;
  added.run_id = version.run_id;
  added.metrics = version.metrics;
  added.description = version.description;
  if (version.adapter) {
    const auto base_version = store::find_model_version(transaction.connection(), version.base_version_id);
    if (!base_version) return reference_not_found("model version", version.base_version_id);
    added.family = base_version->family;
    added.context_length = base_version->context_length;
    added.has_chat_template = base_version->has_chat_template;
  }
  const auto done = add_model_version(transaction, version.model_name, "", std::move(added));
  if (!done.ok()) return done.status();
  return done->id;
}

absl::StatusOr<store::ModelVersion> Registry::add_model_version(store::Transaction& transaction,
                                                                const std::string& name,
                                                                const std::string& model_description,
                                                                store::ModelVersion version) {
  // The artifact may have been removed since it was looked at.
  if (const auto artifact = store_.get(version.artifact_id); !artifact.ok()) return artifact.status();
  store::Connection& connection = transaction.connection();
  auto model = store::find_model(connection, name);
  if (!model) {
    model = store::Model{base::new_id("model", clock_.now_ms()), name, model_description, transaction.now_ms()};
    store::insert_model(connection, *model);
  }
  const auto latest = store::latest_model_version(connection, model->id);
  version.id = base::new_id("modelversion", clock_.now_ms());
  version.model_id = model->id;
  version.model_name = model->name;
  version.version = latest ? latest->version + 1 : 1;
  version.created_at_ms = transaction.now_ms();
  store::insert_model_version(connection, version);
  transaction.changed("model", model->id);
  return version;
}

absl::StatusOr<store::DatasetVersion> Registry::add_dataset_version(store::Transaction& transaction,
                                                                    const std::string& name,
                                                                    const std::string& description,
                                                                    store::DatasetVersion version) {
  if (const auto artifact = store_.get(version.artifact_id); !artifact.ok()) return artifact.status();
  store::Connection& connection = transaction.connection();
  auto dataset = store::find_dataset(connection, name);
  if (!dataset) {
    dataset = store::Dataset{base::new_id("dataset", clock_.now_ms()), name, description, transaction.now_ms()};
    store::insert_dataset(connection, *dataset);
  }
  const auto latest = store::latest_dataset_version(connection, dataset->id);
  version.id = base::new_id("datasetversion", clock_.now_ms());
  version.dataset_id = dataset->id;
  version.dataset_name = dataset->name;
  version.version = latest ? latest->version + 1 : 1;
  version.created_at_ms = transaction.now_ms();
  store::insert_dataset_version(connection, version);
  transaction.changed("dataset", dataset->id);
  return version;
}

}  // namespace slipway::service
