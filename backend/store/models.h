// Rows of models and their versions, and their queries. Used by service::Models.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "backend/store/database.h"
#include "backend/store/paging.h"

namespace slipway::store {

struct Model {
  std::string id;
  std::string name;
  std::string description;
  int64_t created_at_ms = 0;
};

struct ModelVersion {
  std::string id;
  std::string model_id;
  std::string model_name;  // of its model
  int64_t version = 0;
  bool adapter = false;
  bool reward = false;  // a reward model: a score in the place of next tokens
  int64_t tasks = 0;    // of an adapter of multitask prompt tuning
  std::string artifact_id;
  std::string path;
  int64_t size_bytes = 0;
  std::string family;
  int64_t parameter_count = 0;
  int64_t context_length = 0;
  std::string format;
  bool has_chat_template = false;
  std::string base_version_id;
  std::string run_id;
  std::map<std::string, double> metrics;
  std::string description;
  int64_t created_at_ms = 0;

  std::string label() const { return model_name + "@" + std::to_string(version); }
};

void insert_model(Connection& connection, const Model& model);
void delete_model(Connection& connection, const std::string& id);
std::optional<Model> find_model(Connection& connection, const std::string& id_or_name);
// By name. Filter: words in name or id; kind:base, kind:adapter (of the latest version).
absl::StatusOr<Page<Model>> list_models(Connection& connection, const PageRequest& request);

void insert_model_version(Connection& connection, const ModelVersion& version);
// By id, NAME@VERSION, or NAME (the latest).
std::optional<ModelVersion> find_model_version(Connection& connection, const std::string& reference);
std::optional<ModelVersion> latest_model_version(Connection& connection, const std::string& model_id);
int64_t count_model_versions(Connection& connection, const std::string& model_id);
std::vector<ModelVersion> all_model_versions(Connection& connection, const std::string& model_id);
// Newest first.
absl::StatusOr<Page<ModelVersion>> list_model_versions(Connection& connection, const std::string& model_id,
                                                       const PageRequest& request);

// What keeps a model from being deleted, in words: a deployment, an adapter of another model, a run under way. Empty:
// nothing.
std::string model_in_use(Connection& connection, const std::string& model_id);

// NAME@VERSION in two; version is 0 when the text holds none.
struct Reference {
  std::string name;
  int64_t version = 0;
};
Reference parse_reference(const std::string& text);

}  // namespace slipway::store
