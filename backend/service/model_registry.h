// What runs and deployments need from the registry of models and datasets. Implemented by the registry's services,
// called by RunService, WorkflowService and DeploymentService inside their own reads and writes.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "backend/store/database.h"

namespace slipway::service {

struct ModelVersionFacts {
  std::string id;
  std::string model_name;
  std::string label;  // name@version
  std::string artifact_id;
  // Where the model is inside the artifact: empty for its root (a Hugging Face or PEFT folder), or the name of
  // the .gguf or .slipway file.
  std::string path;
  bool adapter = false;
  std::string base_version_id;  // for an adapter
  int64_t context_length = 0;
  int64_t parameter_count = 0;
  int64_t size_bytes = 0;
  bool quantised = false;  // a .slipway file
  bool reward = false;     // scores texts and writes none
  int64_t tasks = 0;       // of an adapter of multitask prompt tuning, which each have a prompt of their own
};

struct DatasetVersionFacts {
  std::string id;
  std::string dataset_name;
  std::string label;  // name@version
  std::string artifact_id;
  std::string path;                          // the JSONL file inside the artifact
  std::string format;                        // messages, prompt_completion, alpaca, sharegpt, text
  std::map<std::string, std::string> roles;  // role -> column
  int64_t row_count = 0;
};

// A model version that a run made.
struct NewModelVersion {
  std::string model_name;  // made if new
  std::string artifact_id;
  bool adapter = true;
  std::string base_version_id;
  std::string run_id;
  std::string description;
  std::map<std::string, double> metrics;
};

class ModelRegistry {
 public:
  virtual ~ModelRegistry() = default;

  // reference: id, name@version, or name (the latest). NOT_FOUND names it.
  virtual absl::StatusOr<ModelVersionFacts> find_model_version(store::Connection& connection,
                                                               const std::string& reference) = 0;
  virtual absl::StatusOr<DatasetVersionFacts> find_dataset_version(store::Connection& connection,
                                                                   const std::string& reference) = 0;

  // OK when a version may be registered under this name: INVALID_ARGUMENT otherwise.
  virtual absl::Status check_model_name(store::Connection& connection, const std::string& name) = 0;

  // Registers the version in the caller's transaction, with its change; its id. The artifact is in the store already.
  // On the writer's thread: may read the artifact's small files, no more.
  virtual absl::StatusOr<std::string> register_version(store::Transaction& transaction,
                                                       const NewModelVersion& version) = 0;
};

}  // namespace slipway::service
