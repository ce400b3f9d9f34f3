#include "backend/service/datasets.h"

#include <spdlog/spdlog.h>

#include "backend/base/status.h"
#include "backend/service/dataset_file.h"
#include "backend/service/models.h"

namespace slipway::service {
namespace {

constexpr size_t kMaxDescriptionBytes = 4000;

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// The one file of rows in an artifact.
absl::StatusOr<std::string> rows_file(const artifacts::Manifest& manifest) {
  std::vector<std::string> found;
  for (const artifacts::FileEntry& file : manifest.files) {
    if (ends_with(file.path, ".jsonl") || ends_with(file.path, ".ndjson")) found.push_back(file.path);
  }
  if (found.empty() && manifest.files.size() == 1) found.push_back(manifest.files[0].path);
  if (found.size() == 1) return found[0];
  return base::error(absl::StatusCode::kInvalidArgument,
                     found.empty() ? "there is no .jsonl file among the files" : "there is more than one .jsonl file",
                     {"NOT_A_DATASET", "artifact_id", "upload one JSONL file: a JSON object on each line"});
}

absl::Status missing(const std::string& field, const std::string& what) {
  return base::invalid_argument(field, what + " is missing", "give its id or its name");
}

DatasetOverview overview_of(store::Connection& connection, store::Dataset dataset) {
  DatasetOverview overview;
  overview.version_count = store::count_dataset_versions(connection, dataset.id);
  overview.latest = store::latest_dataset_version(connection, dataset.id).value_or(store::DatasetVersion());
  overview.dataset = std::move(dataset);
  return overview;
}

}  // namespace

absl::StatusOr<store::DatasetVersion> Datasets::import(const std::string& name, const std::string& artifact_id,
                                                       const ColumnMapping& mapping, const std::string& description) {
  if (absl::Status status = check_name("name", name); !status.ok()) return status;
  if (description.size() > kMaxDescriptionBytes) {
    return base::invalid_argument("description", "the description is longer than 4,000 bytes", "use a shorter one");
  }
  if (artifact_id.empty()) {
    return base::invalid_argument("artifact_id", "the artifact is missing", "upload the JSONL file first");
  }
  const auto artifact = store_.get(artifact_id);
  if (!artifact.ok()) return artifact.status();
  const auto file = rows_file(artifact->manifest);
  if (!file.ok()) return file.status();
  const auto path = store_.file_path(artifact_id, *file);
  if (!path.ok()) return path.status();
  auto checked = check_file(*path, *file, mapping);
  if (!checked.ok()) return checked.status();

  store::DatasetVersion version;
  version.artifact_id = artifact_id;
  version.path = *file;
  version.format = checked->mapping.format;
  version.roles = checked->mapping.roles;
  version.row_count = checked->row_count;
  auto added = database_.write_returning([&](store::Transaction& transaction) -> absl::StatusOr<store::DatasetVersion> {
    const auto latest = store::find_dataset_version(transaction.connection(), name);
    if (latest && latest->artifact_id == artifact_id && latest->format == version.format &&
        latest->roles == version.roles) {
      return *latest;
    }
    return registry_.add_dataset_version(transaction, name, description, version);
  });
  if (added.ok()) {
    spdlog::info("dataset imported version={} name={} artifact={} rows={}", added->id, added->label(), artifact_id,
                 added->row_count);
  }
  return added;
}

absl::StatusOr<Preview> Datasets::preview(const PreviewRequest& request) {
  PreviewRequest completed = request;
  std::string file;
  if (!request.dataset_version_id.empty()) {
    const auto version = get_version(request.dataset_version_id);
    if (!version.ok()) return version.status();
    completed.artifact_id = version->artifact_id;
    file = version->path;
    if (request.mapping.format.empty() && request.mapping.roles.empty())
      completed.mapping = {version->format, version->roles};
  } else if (request.artifact_id.empty()) {
    return base::invalid_argument("source", "there is nothing to preview", "give artifact_id or dataset_version_id");
  }
  const auto artifact = store_.get(completed.artifact_id);
  if (!artifact.ok()) return artifact.status();
  if (file.empty()) {
    const auto found = rows_file(artifact->manifest);
    if (!found.ok()) return found.status();
    file = *found;
  }
  const auto path = store_.file_path(completed.artifact_id, file);
  if (!path.ok()) return path.status();
  std::shared_ptr<const LoadedTokenizer> tokenizer;
  if (!request.model_version_id.empty()) {
    auto loaded = tokenizers_.find(request.model_version_id);
    if (!loaded.ok()) return loaded.status();
    tokenizer = *std::move(loaded);
  }
  return preview_file(*path, file, completed, tokenizer.get());
}

absl::StatusOr<DatasetOverview> Datasets::get(const std::string& id_or_name) {
  if (id_or_name.empty()) return missing("id", "the dataset");
  return database_.read([&](store::Connection& connection) -> absl::StatusOr<DatasetOverview> {
    auto dataset = store::find_dataset(connection, id_or_name);
    if (!dataset) return base::not_found("dataset", id_or_name);
    return overview_of(connection, *std::move(dataset));
  });
}

absl::StatusOr<store::Page<DatasetOverview>> Datasets::list(const store::PageRequest& request) {
  return database_.read([&](store::Connection& connection) -> absl::StatusOr<store::Page<DatasetOverview>> {
    auto datasets = store::list_datasets(connection, request);
    if (!datasets.ok()) return datasets.status();
    store::Page<DatasetOverview> page;
    for (store::Dataset& dataset : datasets->rows) page.rows.push_back(overview_of(connection, std::move(dataset)));
    page.next_page_token = datasets->next_page_token;
    page.total = datasets->total;
    return page;
  });
}

absl::StatusOr<store::Page<store::DatasetVersion>> Datasets::list_versions(const std::string& dataset_id,
                                                                           const store::PageRequest& request) {
  if (dataset_id.empty()) return missing("dataset_id", "the dataset");
  return database_.read([&](store::Connection& connection) -> absl::StatusOr<store::Page<store::DatasetVersion>> {
    const auto dataset = store::find_dataset(connection, dataset_id);
    if (!dataset) return base::not_found("dataset", dataset_id);
    return store::list_dataset_versions(connection, dataset->id, request);
  });
}

absl::StatusOr<store::DatasetVersion> Datasets::get_version(const std::string& reference) {
  if (reference.empty()) return missing("id", "the dataset version");
  return database_.read([&](store::Connection& connection) -> absl::StatusOr<store::DatasetVersion> {
    auto version = store::find_dataset_version(connection, reference);
    if (!version) return base::not_found("dataset version", reference);
    return *std::move(version);
  });
}

absl::Status Datasets::remove(const std::string& id_or_name) {
  if (id_or_name.empty()) return missing("id", "the dataset");
  std::vector<std::string> artifact_ids;
  const absl::Status status = database_.write([&](store::Transaction& transaction) {
    artifact_ids.clear();
    store::Connection& connection = transaction.connection();
    const auto dataset = store::find_dataset(connection, id_or_name);
    if (!dataset) return base::not_found("dataset", id_or_name);
    if (const std::string why = store::dataset_in_use(connection, dataset->id); !why.empty()) {
      return base::failed_precondition("DATASET_IN_USE", "dataset '" + dataset->name + "' cannot be deleted: " + why,
                                       "cancel that run, or wait for it");
    }
    for (const store::DatasetVersion& version : store::all_dataset_versions(connection, dataset->id)) {
      artifact_ids.push_back(version.artifact_id);
    }
    store::delete_dataset(connection, dataset->id);
    transaction.changed("dataset", dataset->id);
    return absl::OkStatus();
  });
  if (status.ok()) remove_unused_artifacts(database_, store_, artifact_ids);
  return status;
}

}  // namespace slipway::service
