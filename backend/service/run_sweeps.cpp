// Runs: sweeps, estimates, and comparisons of several. See runs.h.
#include <algorithm>
#include <set>

#include "backend/base/ids.h"
#include "backend/base/sha256.h"
#include "backend/base/status.h"
#include "backend/domain/thin.h"
#include "backend/service/run_planning.h"
#include "backend/service/runs.h"
#include "workflows/template.h"

namespace slipway::service {
namespace {

using workflows::Json;

constexpr size_t kMaxComparedRuns = 1000;
constexpr int32_t kDefaultComparedPoints = 200;
constexpr int32_t kMaxComparedPoints = 2000;

// The first task that trains, and those it needs, in their order; empty when none trains.
std::vector<workflows::Task> up_to_training(const std::vector<workflows::Task>& tasks) {
  const auto training = std::find_if(tasks.begin(), tasks.end(), [](const auto& task) { return task.kind == "train"; });
  if (training == tasks.end()) return {};
  std::set<std::string> wanted = {training->name};
  std::vector<workflows::Task> kept;
  for (auto task = training + 1; task != tasks.begin();) {
    --task;
    if (!wanted.contains(task->name)) continue;
    wanted.insert(task->needs.begin(), task->needs.end());
    kept.insert(kept.begin(), *task);
  }
  return kept;
}

}  // namespace

std::string training_hash_of(const std::string& workflow, const PlannedRun& plan) {
  const std::vector<workflows::Task> tasks = up_to_training(plan.tasks);
  if (tasks.empty()) return "";
  Json values = Json::object();
  for (const workflows::Task& task : tasks) {
    Json templates = {task.spec};
    for (const workflows::TaskInput& input : task.inputs) templates.push_back(input.artifact);
    const auto references = workflows::references_of(templates);
    if (!references.ok()) return "";
    for (const std::string& reference : *references) {
      constexpr std::string_view kPrefix = "parameters.";
      if (reference.rfind(kPrefix, 0) != 0) continue;
      const std::string name = reference.substr(kPrefix.size(), reference.find('.', kPrefix.size()) - kPrefix.size());
      values[name] = plan.checked.values.value(name, Json());
    }
  }
  return base::sha256_hex(Json{workflow, values}.dump());
}

absl::StatusOr<Runs::Sweep> Runs::sweep(const StartRunRequest& request, const std::vector<workflows::SweepAxis>& axes,
                                        int32_t random_runs, uint64_t seed) {
  const workflows::Workflow* workflow = catalogue_.find(request.workflow);
  if (workflow == nullptr) {
    return base::invalid_argument("workflow", "workflow '" + request.workflow + "' does not exist",
                                  "list the workflows");
  }
  const auto sets = workflows::expand_sweep(*workflow, axes, random_runs, seed);
  if (!sets.ok()) return sets.status();
  const auto started = database_.write_returning([&](store::Transaction& transaction) -> absl::StatusOr<Sweep> {
    Sweep sweep;
    if (!request.idempotency_key.empty()) {
      if (const auto known = store::find_run_by_key(transaction.connection(), request.idempotency_key + "/1")) {
        sweep.id = known->sweep_id;
        sweep.run_ids = store::runs_of_sweep(transaction.connection(), sweep.id);
        return sweep;
      }
    }
    sweep.id = base::new_id("sweep", transaction.now_ms());
    for (const auto& values : *sets) {
      StartRunRequest one = request;
      const std::string number = std::to_string(sweep.run_ids.size() + 1);
      for (const auto& [name, text] : values) one.parameters[name] = text;
      if (!one.name.empty()) one.name += "-" + number;
      if (!one.idempotency_key.empty()) one.idempotency_key += "/" + number;
      one.sweep_id = sweep.id;
      one.number_in_sweep = number;
      const auto id = start_in(transaction, one);
      if (!id.ok()) return id.status();
      sweep.run_ids.push_back(*id);
    }
    return sweep;
  });
  if (started.ok()) wake_dispatcher_();
  return started;
}

absl::StatusOr<RunView> Runs::estimate(const StartRunRequest& request) {
  const auto id = database_.write_returning([&](store::Transaction& transaction) -> absl::StatusOr<std::string> {
    const workflows::Workflow* workflow = catalogue_.find(request.workflow);
    if (workflow == nullptr) {
      return base::invalid_argument("workflow", "workflow '" + request.workflow + "' does not exist",
                                    "list the workflows");
    }
    PlannedRun plan = plan_run(*workflow, request.parameters, "", registry_, transaction.connection());
    if (!plan.checked.violations.empty()) return base::invalid_arguments(plan.checked.violations);
    const std::string hash = training_hash_of(workflow->name, plan);
    if (hash.empty()) {
      return base::failed_precondition("NOTHING_TO_ESTIMATE", "workflow " + workflow->name + " trains nothing",
                                       "start it without an estimate");
    }
    if (const auto known = store::find_estimate(transaction.connection(), hash)) return known->id;
    plan.tasks = up_to_training(plan.tasks);
    for (workflows::Task& task : plan.tasks) {
      if (task.kind != "train") continue;
      task.upload_artifacts.clear();
      task.return_files = {kEstimateFile};
      task.results.clear();
    }
    store::Run run;
    run.name = "estimate of " + plan.checked.run_name;
    run.estimate = true;
    run.training_hash = hash;
    run.created_by = request.created_by;
    return insert_planned(transaction, *workflow, plan, std::move(run));
  });
  if (!id.ok()) return id.status();
  wake_dispatcher_();
  return get(*id);
}

absl::StatusOr<std::vector<RunSeries>> Runs::compare(const std::vector<std::string>& run_ids, const std::string& name,
                                                     int32_t max_points) {
  if (run_ids.size() > kMaxComparedRuns) {
    return base::invalid_argument("run_ids", "more than 1,000 runs", "compare fewer at once");
  }
  const auto limit =
      static_cast<size_t>(max_points <= 0 ? kDefaultComparedPoints : std::min(max_points, kMaxComparedPoints));
  return database_.read([&](store::Connection& connection) -> absl::StatusOr<std::vector<RunSeries>> {
    std::vector<RunSeries> all;
    for (const std::string& run_id : run_ids) {
      for (const store::Task& task : store::tasks_of_run(connection, run_id)) {
        if (task.kind != "train") continue;
        const std::vector<store::MetricPoint> points = store::metric_points(connection, task.id, name);
        if (points.empty()) continue;
        std::vector<domain::XY> shape;
        shape.reserve(points.size());
        for (const store::MetricPoint& point : points) shape.push_back({static_cast<double>(point.step), point.value});
        RunSeries series{run_id, {task.name, name, {}}};
        for (const size_t index : domain::thin(shape, limit)) series.series.points.push_back(points[index]);
        all.push_back(std::move(series));
      }
    }
    return all;
  });
}

absl::StatusOr<RunView> Runs::stop_and_keep(const std::string& id) {
  const absl::Status status = database_.write([&](store::Transaction& transaction) -> absl::Status {
    store::Connection& connection = transaction.connection();
    const auto run = store::find_run(connection, id);
    if (!run) return base::not_found("run", id);
    for (const store::Task& task : store::tasks_of_run(connection, id)) {
      if (task.kind != "train" || task.state != domain::TaskState::kRunning) continue;
      auto attempt = store::latest_attempt_of_task(connection, task.id);
      if (!attempt || is_final(attempt->state)) continue;
      if (attempt->keep_asked) return absl::OkStatus();
      attempt->keep_asked = true;
      store::update_attempt(connection, *attempt);
      transaction.changed("run", id, id);
      Conductor::note(transaction, id, task.id, attempt->id, "run",
                      "the training is to end early and keep what it has learned");
      return absl::OkStatus();
    }
    return base::failed_precondition("NOTHING_TO_KEEP", "run " + run->name + " is not training now",
                                     "wait until its training runs, or cancel the run");
  });
  if (!status.ok()) return status;
  wake_dispatcher_();
  return get(id);
}

}  // namespace slipway::service
