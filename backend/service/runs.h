// Runs: starting, cancelling, retrying, and what their pages show. Called by the adapters of RunService and
// EventService. Any thread.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backend/base/clock.h"
#include "backend/service/conductor.h"
#include "backend/store/lines.h"
#include "backend/store/runs.h"
#include "workflows/catalogue.h"

namespace slipway::service {

struct RunView {
  store::Run run;
  std::vector<store::Task> tasks;
  std::map<std::string, std::vector<store::Attempt>> attempts;  // by task id
  std::map<std::string, std::string> parameters;                // name -> JSON text
  std::map<std::string, double> results;
  std::map<std::string, std::vector<std::string>> needs;  // by task id
  std::string waiting_reason;
};

struct StartRunRequest {
  std::string workflow;
  std::string name;
  std::map<std::string, std::string> parameters;
  std::string idempotency_key;
  std::string created_by;
};

struct MetricSeries {
  std::string task;
  std::string name;
  std::vector<store::MetricPoint> points;
};

class Runs {
 public:
  // wake_dispatcher: something was queued or is to be stopped.
  Runs(store::Database& database, const base::Clock& clock, const workflows::Catalogue& catalogue,
       ModelRegistry& registry, Conductor& conductor, std::function<void()> wake_dispatcher);

  absl::StatusOr<RunView> start(const StartRunRequest& request);
  absl::StatusOr<RunView> get(const std::string& id);
  absl::StatusOr<store::Page<RunView>> list(const store::PageRequest& request);
  absl::StatusOr<RunView> cancel(const std::string& id);
  absl::StatusOr<RunView> retry(const std::string& id);
  // Carries on what a crash of the backend may have left undone. Once, at start.
  absl::Status recover();

  absl::StatusOr<std::string> task_spec(const std::string& run_id, const std::string& task);
  absl::StatusOr<std::vector<MetricSeries>> metrics(const std::string& run_id, const std::string& task,
                                                    const std::vector<std::string>& names, int32_t max_points);
  // run_id may be a deployment's id: the log of its replicas.
  struct LogRequest {
    std::string run_id;
    std::string task;
    int64_t after = 0;
    int64_t before = 0;
    bool tail = false;
    int32_t limit = 0;
    std::string search;
  };
  absl::StatusOr<store::LogResult> log(const LogRequest& request);
  absl::StatusOr<std::vector<store::RunEvent>> events(const std::string& run_id, int64_t after, int32_t limit);

  static absl::StatusOr<RunView> view(store::Connection& connection, const std::string& id);

 private:
  absl::StatusOr<std::string> start_in(store::Transaction& transaction, const StartRunRequest& request);
  static RunView view_of(store::Connection& connection, store::Run run);

  store::Database& database_;
  const base::Clock& clock_;
  const workflows::Catalogue& catalogue_;
  ModelRegistry& registry_;
  Conductor& conductor_;
  std::function<void()> wake_dispatcher_;
};

}  // namespace slipway::service
