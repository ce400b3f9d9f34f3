// Datasets: import with every row checked, versions, previews as a model would see them, deletion. Called by rpc/ on
// its workers. Any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backend/artifacts/artifact_store.h"
#include "backend/service/dataset_format.h"
#include "backend/service/registry.h"
#include "backend/service/tokenizers.h"
#include "backend/store/database.h"
#include "backend/store/datasets.h"
#include "backend/store/paging.h"

namespace slipway::service {

struct DatasetOverview {
  store::Dataset dataset;
  store::DatasetVersion latest;
  int64_t version_count = 0;
};

struct PreviewMessage {
  std::string role;
  std::string content;
};
struct PreviewToken {
  int32_t id = 0;
  std::string text;
  bool trained = false;
};
struct PreviewRow {
  std::string json;
  std::string rendered;
  std::vector<PreviewToken> tokens;
  std::string problem;
  std::vector<PreviewMessage> messages;
};
struct Preview {
  std::vector<std::string> columns;
  ColumnMapping mapping;
  std::vector<PreviewRow> rows;
  int64_t row_count = 0;
  std::vector<std::string> problems;
};

struct PreviewRequest {
  // One of the two.
  std::string artifact_id;
  std::string dataset_version_id;
  ColumnMapping mapping;
  std::string model_version_id;  // empty: no rendering
  int32_t rows = 0;              // 0 means 5; at most 100
  int64_t offset = 0;
};

class Datasets {
 public:
  Datasets(store::Database& database, artifacts::ArtifactStore& store, Registry& registry, Tokenizers& tokenizers)
      : database_(database), store_(store), registry_(registry), tokenizers_(tokenizers) {}

  absl::StatusOr<store::DatasetVersion> import(const std::string& name, const std::string& artifact_id,
                                               const ColumnMapping& mapping, const std::string& description);
  absl::StatusOr<Preview> preview(const PreviewRequest& request);
  absl::StatusOr<DatasetOverview> get(const std::string& id_or_name);
  absl::StatusOr<store::Page<DatasetOverview>> list(const store::PageRequest& request);
  absl::StatusOr<store::Page<store::DatasetVersion>> list_versions(const std::string& dataset_id,
                                                                   const store::PageRequest& request);
  absl::StatusOr<store::DatasetVersion> get_version(const std::string& reference);
  absl::Status remove(const std::string& id_or_name);

 private:
  store::Database& database_;
  artifacts::ArtifactStore& store_;
  Registry& registry_;
  Tokenizers& tokenizers_;
};

}  // namespace slipway::service
