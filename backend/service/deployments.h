// Deployments: what is served under which name. Called by the adapter of DeploymentService and, through ServedModels,
// by the gateway of web/. Any thread.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backend/base/clock.h"
#include "backend/domain/serving.h"
#include "backend/service/conductor.h"
#include "backend/service/served_models.h"
#include "backend/store/deployments.h"

namespace slipway::service {

struct AdapterView {
  enum class State { kWaiting, kLoading, kLoaded, kFailed };
  store::DeploymentAdapter adapter;
  State state = State::kWaiting;
  domain::Failure error;
  int64_t last_called_at_ms = 0;  // 0: not known, or not since the start
};

// What is in force in a ready replica, as its engine says.
struct ServingLimits {
  int64_t max_model_len = 0, max_num_seqs = 0, queue = 0, kv_cache_tokens = 0;
  std::string dtype;
};

struct DeploymentView {
  store::Deployment deployment;
  std::string node_id;     // of the latest replica
  std::string attempt_id;  // of the latest replica
  std::vector<AdapterView> adapters;
  std::optional<ServingLimits> limits;
};

class Deployments : public ServedModels {
 public:
  // wake_dispatcher: a replica was queued or is to be stopped.
  Deployments(store::Database& database, const base::Clock& clock, ModelRegistry& registry, Conductor& conductor,
              std::function<void()> wake_dispatcher)
      : database_(database),
        clock_(clock),
        registry_(registry),
        conductor_(conductor),
        wake_dispatcher_(std::move(wake_dispatcher)) {}

  absl::StatusOr<DeploymentView> create(const std::string& name, const std::string& model_version_id,
                                        domain::ServingSettings settings);
  // Moves it to another version or other settings, and starts it where it is stopped. What serves goes on until the new
  // replica is ready. An empty version, and no settings, stay as they are.
  absl::StatusOr<DeploymentView> update(const std::string& reference, const std::string& model_version_id,
                                        std::optional<domain::ServingSettings> settings);
  // reference: id or name, here and below.
  absl::StatusOr<DeploymentView> get(const std::string& reference);
  absl::StatusOr<store::Page<DeploymentView>> list(const store::PageRequest& request);
  absl::StatusOr<DeploymentView> start(const std::string& reference);
  absl::StatusOr<DeploymentView> stop(const std::string& reference);
  // Stops it, and forgets it with its keys.
  absl::Status remove(const std::string& reference);

  // A further adapter of its base, under a name of its own (each of its tasks under one), from now on and after every
  // start. Its names go together.
  absl::StatusOr<DeploymentView> load_adapter(const std::string& reference, const std::string& name,
                                              const std::string& model_version_id);
  absl::StatusOr<DeploymentView> unload_adapter(const std::string& reference, const std::string& name);
  // Oldest first.
  absl::StatusOr<std::vector<domain::ServingSample>> samples(const std::string& reference, int64_t since_ms,
                                                             int32_t max_points);

  absl::StatusOr<std::vector<ServedDeployment>> list_served() override;
  void called(const std::string& model) override;
  // The address (HOST:PORT) of a ready replica that knows this model name.
  absl::StatusOr<std::string> find_replica(const std::string& model_name);

  static DeploymentView view(store::Connection& connection, const store::Deployment& deployment);

 private:
  using Change = std::function<absl::Status(store::Transaction&, const std::string& deployment_id)>;
  absl::StatusOr<DeploymentView> change(const std::string& reference, const Change& action);

  void add_calls(DeploymentView& view);

  store::Database& database_;
  const base::Clock& clock_;
  ModelRegistry& registry_;
  Conductor& conductor_;
  std::function<void()> wake_dispatcher_;

  std::mutex calls_mutex_;                        // guards what follows
  std::map<std::string, int64_t> last_calls_ms_;  // by the name that was called
};

}  // namespace slipway::service
