// The registry of models and datasets as runs and deployments use it, and the one place where versions are made.
// Called by Models, Datasets, and through ModelRegistry by the services of runs and deployments.
#pragma once

#include <filesystem>
#include <string>

#include "backend/artifacts/artifact_store.h"
#include "backend/base/clock.h"
#include "backend/service/model_inspection.h"
#include "backend/service/model_registry.h"
#include "backend/store/datasets.h"
#include "backend/store/models.h"

namespace slipway::service {

// Of models, datasets and deployments: letters, digits, '.', '_' and '-', at most 100.
absl::Status check_name(const std::string& field, const std::string& name);

class Registry final : public ModelRegistry {
 public:
  Registry(artifacts::ArtifactStore& store, const base::Clock& clock) : store_(store), clock_(clock) {}

  absl::StatusOr<ModelVersionFacts> find_model_version(store::Connection& connection,
                                                       const std::string& reference) override;
  absl::StatusOr<DatasetVersionFacts> find_dataset_version(store::Connection& connection,
                                                           const std::string& reference) override;
  absl::Status check_model_name(store::Connection& connection, const std::string& name) override;
  absl::StatusOr<std::string> register_version(store::Transaction& transaction,
                                               const NewModelVersion& version) override;

  // Adds `version` (whose id, model, number and time are filled in here) to the model `name`, which is made if new.
  absl::StatusOr<store::ModelVersion> add_model_version(store::Transaction& transaction, const std::string& name,
                                                        const std::string& model_description,
                                                        store::ModelVersion version);
  absl::StatusOr<store::DatasetVersion> add_dataset_version(store::Transaction& transaction, const std::string& name,
                                                            const std::string& description,
                                                            store::DatasetVersion version);

  // Where the version's model lies on this machine: a folder, or one file.
  absl::StatusOr<std::filesystem::path> local_path(const store::ModelVersion& version);

 private:
  artifacts::ArtifactStore& store_;
  const base::Clock& clock_;
};

// What an inspection found, as the fields of a version.
void fill_version(const ModelInspection& inspection, const artifacts::Artifact& artifact, store::ModelVersion& version);

}  // namespace slipway::service
