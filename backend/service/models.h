// Models: import with all checks, versions, lineage, deletion. Called by rpc/ on its workers. Any thread.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backend/artifacts/artifact_store.h"
#include "backend/service/registry.h"
#include "backend/store/database.h"
#include "backend/store/lineage.h"
#include "backend/store/models.h"
#include "backend/store/paging.h"

namespace slipway::service {

struct ModelOverview {
  store::Model model;
  store::ModelVersion latest;
  int64_t version_count = 0;
};

struct Lineage {
  std::vector<store::LineageNode> nodes;
  std::vector<store::LineageEdge> edges;
};

class Models {
 public:
  Models(store::Database& database, artifacts::ArtifactStore& store, Registry& registry)
      : database_(database), store_(store), registry_(registry) {}

  // Parses the artifact's files, then registers them as the next version of `name`. The same files again as the latest
  // version are that version. Adapters: the base is looked for in the registry by the name that their configuration
  // gives.
  absl::StatusOr<store::ModelVersion> import(const std::string& name, const std::string& artifact_id,
                                             const std::string& description);
  absl::StatusOr<ModelOverview> get(const std::string& id_or_name);
  absl::StatusOr<store::Page<ModelOverview>> list(const store::PageRequest& request);
  absl::StatusOr<store::Page<store::ModelVersion>> list_versions(const std::string& model_id,
                                                                 const store::PageRequest& request);
  absl::StatusOr<store::ModelVersion> get_version(const std::string& reference);
  // What `reference` came from and what came from it: at most 300 things.
  absl::StatusOr<Lineage> lineage(const std::string& reference);
  // Refused while something needs it; then the bytes go as well, unless something else has them too.
  absl::Status remove(const std::string& id_or_name);

 private:
  store::Database& database_;
  artifacts::ArtifactStore& store_;
  Registry& registry_;
};

// Removes those of `artifact_ids` that nothing names any more.
void remove_unused_artifacts(store::Database& database, artifacts::ArtifactStore& store,
                             const std::vector<std::string>& artifact_ids);

}  // namespace slipway::service
