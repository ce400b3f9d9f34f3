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
#include "backend/service/run_planning.h"
#include "backend/store/lines.h"
#include "backend/store/runs.h"
#include "workflows/catalogue.h"
#include "workflows/sweep.h"

namespace slipway::service {

struct RunView {
  store::Run run;
  std::vector<store::Task> tasks;
  std::map<std::string, std::vector<store::Attempt>> attempts;  // by task id
  std::map<std::string, std::string> parameters;                // name -> JSON text
  std::map<std::string, double> results;
  std::map<std::string, double> predictions;
  std::map<std::string, std::vector<std::string>> needs;  // by task id
  std::string waiting_reason;
};

struct StartRunRequest {
  std::string workflow;
  std::string name;
  std::map<std::string, std::string> parameters;
  std::string idempotency_key;
  std::string created_by;
  // Of a sweep: its id, and the number that names without one of their own end with.
  std::string sweep_id = {};
  std::string number_in_sweep = {};
};

struct MetricSeries {
  std::string task;
  std::string name;
  std::vector<store::MetricPoint> points;
};

struct RunSeries {
  std::string run_id;
  MetricSeries series;
};

// Of everything that the training of such a run depends on; empty when nothing is trained.
std::string training_hash_of(const std::string& workflow, const PlannedRun& plan);

class Runs {
 public:
  // wake_dispatcher: something was queued or is to be stopped.
  Runs(store::Database& database, const base::Clock& clock, const workflows::Catalogue& catalogue,
       ModelRegistry& registry, Conductor& conductor, std::function<void()> wake_dispatcher);

  absl::StatusOr<RunView> start(const StartRunRequest& request);
  struct Sweep {
    std::string id;
    std::vector<std::string> run_ids;
  };
  // All of its runs, or none when anything is wrong with one.
  absl::StatusOr<Sweep> sweep(const StartRunRequest& request, const std::vector<workflows::SweepAxis>& axes,
                              int32_t random_runs, uint64_t seed);
  // A run that only measures what the training would take. The same values give the same one.
  absl::StatusOr<RunView> estimate(const StartRunRequest& request);
  absl::StatusOr<std::vector<RunSeries>> compare(const std::vector<std::string>& run_ids, const std::string& name,
                                                 int32_t max_points);
  // The training ends early, and the run goes on with what it has learned.
  absl::StatusOr<RunView> stop_and_keep(const std::string& id);
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
  absl::StatusOr<std::vector<store::RunEvent>> events(const std::string& run_id, int64_t after, int32_t limit,
                                                      const std::string& type = "");

  static absl::StatusOr<RunView> view(store::Connection& connection, const std::string& id);

 private:
  absl::StatusOr<std::string> start_in(store::Transaction& transaction, const StartRunRequest& request);
  // Fills in what the plan says, and begins. `run`: what is its own (name, who, sweep, estimate).
  absl::StatusOr<std::string> insert_planned(store::Transaction& transaction, const workflows::Workflow& workflow,
                                             const PlannedRun& plan, store::Run run);
  static RunView view_of(store::Connection& connection, store::Run run);

  store::Database& database_;
  const base::Clock& clock_;
  const workflows::Catalogue& catalogue_;
  ModelRegistry& registry_;
  Conductor& conductor_;
  std::function<void()> wake_dispatcher_;
};

}  // namespace slipway::service
