#include "backend/service/models.h"

#include <spdlog/spdlog.h>

#include <deque>
#include <set>

#include "backend/base/status.h"

namespace slipway::service {
namespace {

constexpr size_t kMostLineageNodes = 300;
constexpr size_t kMaxDescriptionBytes = 4000;

std::string last_part(const std::string& path) {
  std::string trimmed = path;
  while (!trimmed.empty() && trimmed.back() == '/') trimmed.pop_back();
  return trimmed.substr(trimmed.rfind('/') + 1);
}

// The version that an adapter's configuration means by base_model_name_or_path, which may be a path or HUB/NAME.
std::optional<store::ModelVersion> find_base(store::Connection& connection, const std::string& base_name) {
  for (const std::string& name : {base_name, last_part(base_name)}) {
    if (name.empty()) continue;
    auto found = store::find_model_version(connection, name);
    if (found && !found->adapter) return found;
  }
  return std::nullopt;
}

ModelOverview overview_of(store::Connection& connection, store::Model model) {
  ModelOverview overview;
  overview.version_count = store::count_model_versions(connection, model.id);
  overview.latest = store::latest_model_version(connection, model.id).value_or(store::ModelVersion());
  overview.model = std::move(model);
  return overview;
}

absl::Status missing(const std::string& field, const std::string& what) {
  return base::invalid_argument(field, what + " is missing", "give its id or its name");
}

}  // namespace

absl::StatusOr<store::ModelVersion> Models::import(const std::string& name, const std::string& artifact_id,
                                                   const std::string& description) {
  if (absl::Status status = check_name("name", name); !status.ok()) return status;
  if (description.size() > kMaxDescriptionBytes) {
    return base::invalid_argument("description", "the description is longer than 4,000 bytes", "use a shorter one");
  }
  if (artifact_id.empty()) {
    return base::invalid_argument("artifact_id", "the artifact is missing", "upload the model's files first");
  }
  const auto artifact = store_.get(artifact_id);
  if (!artifact.ok()) return artifact.status();
  const auto view = store_.view(artifact_id);
  if (!view.ok()) return view.status();
  const auto inspection = inspect_model(*view, artifact->manifest);
  if (!inspection.ok()) return inspection.status();

  store::ModelVersion version;
  fill_version(*inspection, *artifact, version);
  version.description = description;
  if (inspection->adapter) {
    const auto base_version = database_.read([&](store::Connection& connection) -> absl::StatusOr<store::ModelVersion> {
      auto found = find_base(connection, inspection->base_name);
      if (found) return *std::move(found);
      return base::failed_precondition(
          "BASE_MODEL_MISSING", "this adapter's base model '" + inspection->base_name + "' is not registered",
          "import the base model first, under the name " + last_part(inspection->base_name));
    });
    if (!base_version.ok()) return base_version.status();
    const auto base_path = registry_.local_path(*base_version);
    if (!base_path.ok()) return base_path.status();
    if (absl::Status status = check_adapter_fits(*view / inspection->path, *base_path); !status.ok()) return status;
    version.base_version_id = base_version->id;
    version.family = base_version->family;
    version.context_length = base_version->context_length;
    version.has_chat_template = base_version->has_chat_template;
  }
  auto added = database_.write_returning([&](store::Transaction& transaction) -> absl::StatusOr<store::ModelVersion> {
    const auto latest = store::find_model_version(transaction.connection(), name);
    if (latest && latest->artifact_id == artifact_id && latest->run_id.empty()) return *latest;
    return registry_.add_model_version(transaction, name, description, version);
  });
  if (added.ok()) {
    spdlog::info("model imported version={} name={} artifact={} family={}", added->id, added->label(), artifact_id,
                 added->family);
  }
  return added;
}

absl::StatusOr<ModelOverview> Models::get(const std::string& id_or_name) {
  if (id_or_name.empty()) return missing("id", "the model");
  return database_.read([&](store::Connection& connection) -> absl::StatusOr<ModelOverview> {
    auto model = store::find_model(connection, id_or_name);
    if (!model) return base::not_found("model", id_or_name);
    return overview_of(connection, *std::move(model));
  });
}

absl::StatusOr<store::Page<ModelOverview>> Models::list(const store::PageRequest& request) {
  return database_.read([&](store::Connection& connection) -> absl::StatusOr<store::Page<ModelOverview>> {
    auto models = store::list_models(connection, request);
    if (!models.ok()) return models.status();
    store::Page<ModelOverview> page;
    for (store::Model& model : models->rows) page.rows.push_back(overview_of(connection, std::move(model)));
    page.next_page_token = models->next_page_token;
    page.total = models->total;
    return page;
  });
}

absl::StatusOr<store::Page<store::ModelVersion>> Models::list_versions(const std::string& model_id,
                                                                       const store::PageRequest& request) {
  if (model_id.empty()) return missing("model_id", "the model");
  return database_.read([&](store::Connection& connection) -> absl::StatusOr<store::Page<store::ModelVersion>> {
    const auto model = store::find_model(connection, model_id);
    if (!model) return base::not_found("model", model_id);
    return store::list_model_versions(connection, model->id, request);
  });
}

absl::StatusOr<store::ModelVersion> Models::get_version(const std::string& reference) {
  if (reference.empty()) return missing("id", "the model version");
  return database_.read([&](store::Connection& connection) -> absl::StatusOr<store::ModelVersion> {
    auto version = store::find_model_version(connection, reference);
    if (!version) return base::not_found("model version", reference);
    return *std::move(version);
  });
}

absl::StatusOr<Lineage> Models::lineage(const std::string& reference) {
  if (reference.empty()) return missing("id", "the id");
  return database_.read([&](store::Connection& connection) -> absl::StatusOr<Lineage> {
    std::string start = reference;
    if (const auto version = store::find_model_version(connection, reference)) {
      start = version->id;
    } else if (const auto dataset = store::find_dataset_version(connection, reference)) {
      start = dataset->id;
    }
    auto first = store::find_lineage_node(connection, start);
    if (!first) return base::not_found("model version, dataset version, run or deployment", reference);
    Lineage result;
    std::set<std::string> known = {start};
    result.nodes.push_back(*std::move(first));
    // Backward from the start to what it came from, then forward to what came from it: no siblings.
    for (const bool back : {true, false}) {
      std::deque<std::string> open = {start};
      std::set<std::string> visited;
      while (!open.empty() && result.nodes.size() < kMostLineageNodes) {
        const std::string id = open.front();
        open.pop_front();
        if (!visited.insert(id).second) continue;
        for (const store::LineageEdge& edge :
             back ? store::lineage_before(connection, id) : store::lineage_after(connection, id)) {
          const std::string& other = back ? edge.from_id : edge.to_id;
          if (!known.contains(other)) {
            auto node = store::find_lineage_node(connection, other);
            if (!node) continue;  // deleted meanwhile
            known.insert(other);
            result.nodes.push_back(*std::move(node));
          }
          result.edges.push_back(edge);
          open.push_back(other);
        }
      }
    }
    return result;
  });
}

absl::Status Models::remove(const std::string& id_or_name) {
  if (id_or_name.empty()) return missing("id", "the model");
  std::vector<std::string> artifact_ids;
  const absl::Status status = database_.write([&](store::Transaction& transaction) {
    artifact_ids.clear();
    store::Connection& connection = transaction.connection();
    const auto model = store::find_model(connection, id_or_name);
    if (!model) return base::not_found("model", id_or_name);
    if (const std::string why = store::model_in_use(connection, model->id); !why.empty()) {
      return base::failed_precondition("MODEL_IN_USE", "model '" + model->name + "' cannot be deleted: " + why,
                                       "delete that first");
    }
    for (const store::ModelVersion& version : store::all_model_versions(connection, model->id)) {
      artifact_ids.push_back(version.artifact_id);
    }
    store::delete_model(connection, model->id);
    transaction.changed("model", model->id);
    return absl::OkStatus();
  });
  if (status.ok()) remove_unused_artifacts(database_, store_, artifact_ids);
  return status;
}

void remove_unused_artifacts(store::Database& database, artifacts::ArtifactStore& store,
                             const std::vector<std::string>& artifact_ids) {
  // On the writer's thread, so that no version is registered between the look and the removal.
  const absl::Status status = database.write([&](store::Transaction& transaction) {
    for (const std::string& id : std::set<std::string>(artifact_ids.begin(), artifact_ids.end())) {
      if (store::artifact_in_use(transaction.connection(), id)) continue;
      const absl::Status removed = store.remove(id);
      if (!removed.ok()) spdlog::warn("artifact not removed id={} error=\"{}\"", id, std::string(removed.message()));
    }
    return absl::OkStatus();
  });
  if (!status.ok()) spdlog::warn("artifacts not removed error=\"{}\"", std::string(status.message()));
}

}  // namespace slipway::service
