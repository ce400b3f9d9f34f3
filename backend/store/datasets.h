// Rows of datasets and their versions, and their queries. Used by service::Datasets.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "backend/store/database.h"
#include "backend/store/paging.h"

namespace slipway::store {

struct Dataset {
  std::string id;
  std::string name;
  std::string description;
  int64_t created_at_ms = 0;
};

struct DatasetVersion {
  std::string id;
  std::string dataset_id;
  std::string dataset_name;  // of its dataset
  int64_t version = 0;
  std::string artifact_id;
  std::string path;
  std::string format;
  std::map<std::string, std::string> roles;
  int64_t row_count = 0;
  std::string run_id;
  int64_t created_at_ms = 0;

  std::string label() const { return dataset_name + "@" + std::to_string(version); }
};

void insert_dataset(Connection& connection, const Dataset& dataset);
void delete_dataset(Connection& connection, const std::string& id);
std::optional<Dataset> find_dataset(Connection& connection, const std::string& id_or_name);
// By name. Filter: words in name or id.
absl::StatusOr<Page<Dataset>> list_datasets(Connection& connection, const PageRequest& request);

void insert_dataset_version(Connection& connection, const DatasetVersion& version);
// By id, NAME@VERSION, or NAME (the latest).
std::optional<DatasetVersion> find_dataset_version(Connection& connection, const std::string& reference);
std::optional<DatasetVersion> latest_dataset_version(Connection& connection, const std::string& dataset_id);
int64_t count_dataset_versions(Connection& connection, const std::string& dataset_id);
std::vector<DatasetVersion> all_dataset_versions(Connection& connection, const std::string& dataset_id);
// Newest first.
absl::StatusOr<Page<DatasetVersion>> list_dataset_versions(Connection& connection, const std::string& dataset_id,
                                                           const PageRequest& request);

// What keeps a dataset from being deleted, in words: a run under way. Empty: nothing.
std::string dataset_in_use(Connection& connection, const std::string& dataset_id);

// Whether a model version, dataset version or task still names this artifact.
bool artifact_in_use(Connection& connection, const std::string& artifact_id);

}  // namespace slipway::store
