#include "backend/service/runs.h"

#include <algorithm>

#include "backend/base/ids.h"
#include "backend/base/sha256.h"
#include "backend/base/status.h"
#include "backend/domain/run.h"
#include "backend/domain/thin.h"
#include "backend/service/run_planning.h"
#include "workflows/template.h"

namespace slipway::service {
namespace {

using domain::RunState;
using domain::TaskState;
using workflows::Json;

constexpr int32_t kDefaultLines = 500;
constexpr int32_t kMaxLines = 5000;
constexpr int32_t kMaxPoints = 2000;
constexpr size_t kMaxKeyBytes = 200;
constexpr size_t kMaxSearchBytes = 1000;

int32_t limit_of(int32_t asked) { return asked <= 0 ? kDefaultLines : std::min(asked, kMaxLines); }

std::string hash_of(const StartRunRequest& request) {
  return base::sha256_hex(Json{request.workflow, request.name, request.parameters}.dump());
}

}  // namespace

Runs::Runs(store::Database& database, const base::Clock& clock, const workflows::Catalogue& catalogue,
           ModelRegistry& registry, Conductor& conductor, std::function<void()> wake_dispatcher)
    : database_(database),
      clock_(clock),
      catalogue_(catalogue),
      registry_(registry),
      conductor_(conductor),
      wake_dispatcher_(std::move(wake_dispatcher)) {}

absl::StatusOr<std::string> Runs::start_in(store::Transaction& transaction, const StartRunRequest& request) {
  store::Connection& connection = transaction.connection();
  if (!request.idempotency_key.empty()) {
    if (const auto known = store::find_run_by_key(connection, request.idempotency_key)) {
      if (known->request_hash == hash_of(request)) return known->id;
      return base::error(absl::StatusCode::kAlreadyExists, "the idempotency key was used for another run, " + known->id,
                         {"IDEMPOTENCY_KEY_REUSED", "idempotency_key", "use a new key for a new run"});
    }
  }
  const workflows::Workflow* workflow = catalogue_.find(request.workflow);
  if (workflow == nullptr) {
    return base::invalid_argument("workflow", "workflow '" + request.workflow + "' does not exist",
                                  "list the workflows");
  }
  PlannedRun plan = plan_run(*workflow, request.parameters, request.name, registry_, connection);
  if (request.idempotency_key.size() > kMaxKeyBytes) {
    plan.checked.violations.push_back({"idempotency_key", "the key is longer than 200 bytes", "use a UUID"});
  }
  if (!plan.checked.violations.empty()) return base::invalid_arguments(plan.checked.violations);

  store::Run run;
  run.name = plan.checked.run_name;
  if (request.name.empty() && !request.number_in_sweep.empty()) run.name += "-" + request.number_in_sweep;
  run.created_by = request.created_by;
  run.idempotency_key = request.idempotency_key;
  run.request_hash = hash_of(request);
  run.sweep_id = request.sweep_id;
  run.training_hash = training_hash_of(workflow->name, plan);
  if (const auto estimate = store::find_estimate(connection, run.training_hash)) run.predictions = estimate->results;
  return insert_planned(transaction, *workflow, plan, std::move(run));
}

absl::StatusOr<std::string> Runs::insert_planned(store::Transaction& transaction, const workflows::Workflow& workflow,
                                                 const PlannedRun& plan, store::Run run) {
  store::Connection& connection = transaction.connection();
  run.id = base::new_id("run", transaction.now_ms());
  run.workflow = workflow.name;
  run.parameters = Json(plan.checked.texts).dump();
  run.values_json = plan.checked.values.dump();
  Json results = Json::object();
  for (const auto& [name, value] : workflow.results) results[name] = value;
  run.results_plan = run.estimate ? "{}" : results.dump();
  run.created_at_ms = transaction.now_ms();
  store::insert_run(connection, run);
  for (const ModelVersionFacts& model : plan.models) store::insert_run_input(connection, run.id, {"model", model.id});
  for (const DatasetVersionFacts& data : plan.datasets)
    store::insert_run_input(connection, run.id, {"dataset", data.id});
  int position = 0;
  for (const workflows::Task& planned : plan.tasks) {
    store::Task task;
    task.id = base::new_id("task", transaction.now_ms());
    task.run_id = run.id;
    task.position = position++;
    task.name = planned.name;
    task.title = planned.title;
    task.kind = planned.kind;
    task.plan = workflows::to_json(planned).dump();
    store::insert_task(connection, task);
  }
  transaction.changed("run", run.id, run.id);
  Conductor::note(transaction, run.id, "", "", "run", "run " + run.name + " started by " + run.created_by);
  const absl::Status advanced = conductor_.advance_run(transaction, run.id);
  if (!advanced.ok()) return advanced;
  return run.id;
}

absl::StatusOr<RunView> Runs::start(const StartRunRequest& request) {
  const auto id =
      database_.write_returning([&](store::Transaction& transaction) { return start_in(transaction, request); });
  if (!id.ok()) return id.status();
  wake_dispatcher_();
  return get(*id);
}

RunView Runs::view_of(store::Connection& connection, store::Run run) {
  RunView view;
  view.tasks = store::tasks_of_run(connection, run.id);
  for (store::Attempt& attempt : store::attempts_of_run(connection, run.id)) {
    view.attempts[attempt.task_id].push_back(std::move(attempt));
  }
  for (const store::Task& task : view.tasks) {
    view.needs[task.id] = Json::parse(task.plan).at("needs").get<std::vector<std::string>>();
    const bool waits = task.state == TaskState::kQueued || task.kind == "deploy";
    if (waits && !is_final(task.state) && view.waiting_reason.empty()) view.waiting_reason = task.waiting_reason;
  }
  if (run.state == RunState::kQueued && view.waiting_reason.empty()) {
    view.waiting_reason = "its first task is being placed";
  }
  if (is_final(run.state)) view.waiting_reason.clear();
  view.parameters = Json::parse(run.parameters).get<std::map<std::string, std::string>>();
  view.results = Json::parse(run.results).get<std::map<std::string, double>>();
  view.predictions = Json::parse(run.predictions).get<std::map<std::string, double>>();
  view.run = std::move(run);
  return view;
}

absl::StatusOr<RunView> Runs::view(store::Connection& connection, const std::string& id) {
  auto run = store::find_run(connection, id);
  if (!run) return base::not_found("run", id);
  return view_of(connection, *std::move(run));
}

absl::StatusOr<RunView> Runs::get(const std::string& id) {
  return database_.read([&](store::Connection& connection) { return view(connection, id); });
}

absl::StatusOr<store::Page<RunView>> Runs::list(const store::PageRequest& request) {
  return database_.read([&](store::Connection& connection) -> absl::StatusOr<store::Page<RunView>> {
    auto page = store::list_runs(connection, request);
    if (!page.ok()) return page.status();
    store::Page<RunView> views;
    views.next_page_token = page->next_page_token;
    views.total = page->total;
    for (store::Run& run : page->rows) views.rows.push_back(view_of(connection, std::move(run)));
    return views;
  });
}

absl::StatusOr<RunView> Runs::cancel(const std::string& id) {
  const absl::Status status = database_.write([&](store::Transaction& transaction) -> absl::Status {
    auto run = store::find_run(transaction.connection(), id);
    if (!run) return base::not_found("run", id);
    if (is_final(run->state) || run->state == RunState::kCancelling) return absl::OkStatus();
    run->state = RunState::kCancelling;
    store::update_run(transaction.connection(), *run);
    transaction.changed("run", id, id);
    Conductor::note(transaction, id, "", "", "run", "cancelling");
    return conductor_.advance_run(transaction, id);
  });
  if (!status.ok()) return status;
  wake_dispatcher_();
  return get(id);
}

absl::StatusOr<RunView> Runs::retry(const std::string& id) {
  const absl::Status status = database_.write([&](store::Transaction& transaction) -> absl::Status {
    store::Connection& connection = transaction.connection();
    auto run = store::find_run(connection, id);
    if (!run) return base::not_found("run", id);
    if (run->state == RunState::kSucceeded) {
      return base::failed_precondition(
          "RUN_SUCCEEDED", "run " + run->name + " has succeeded: there is nothing to retry", "start a new run");
    }
    if (!is_final(run->state)) {
      return base::failed_precondition("RUN_NOT_ENDED", "run " + run->name + " has not ended",
                                       "cancel it, or wait until it ends");
    }
    for (store::Task& task : store::tasks_of_run(connection, id)) {
      const TaskState state = domain::retried(task.state);
      if (state == task.state) continue;
      task.state = state;
      task.error = {};
      task.losses = 0;
      task.waiting_reason.clear();
      task.finished_at_ms.reset();
      store::update_task(connection, task);
    }
    run->state = RunState::kQueued;
    run->error = {};
    run->error_task.clear();
    run->finished_at_ms.reset();
    store::update_run(connection, *run);
    transaction.changed("run", id, id);
    Conductor::note(transaction, id, "", "", "run", "retried");
    return conductor_.advance_run(transaction, id);
  });
  if (!status.ok()) return status;
  wake_dispatcher_();
  return get(id);
}

absl::Status Runs::recover() {
  const auto unfinished = database_.read([](store::Connection& connection) -> absl::StatusOr<std::vector<std::string>> {
    return store::unfinished_runs(connection);
  });
  if (!unfinished.ok()) return unfinished.status();
  for (const std::string& id : *unfinished) {
    const absl::Status status =
        database_.write([&](store::Transaction& transaction) { return conductor_.advance_run(transaction, id); });
    if (!status.ok()) return status;
  }
  const absl::Status deployments = database_.write([&](store::Transaction& transaction) -> absl::Status {
    for (const store::Deployment& deployment : store::all_deployments(transaction.connection())) {
      if (deployment.state == domain::DeploymentState::kFailed) continue;
      const absl::Status status = conductor_.advance_deployment(transaction, deployment.id);
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  });
  wake_dispatcher_();
  return deployments;
}

absl::StatusOr<std::string> Runs::task_spec(const std::string& run_id, const std::string& task_name) {
  return database_.read([&](store::Connection& connection) -> absl::StatusOr<std::string> {
    const auto task = store::find_task_by_name(connection, run_id, task_name);
    if (!task) return base::not_found("task", run_id + "/" + task_name);
    if (const auto attempt = store::latest_attempt_of_task(connection, task->id)) {
      return Json::parse(attempt->order_json).at("spec").dump(2);
    }
    // Not begun: what it will be, as far as it is known.
    const auto run = store::find_run(connection, run_id);
    if (!run) return base::not_found("run", run_id);
    const Json plan = Json::parse(task->plan);
    const Json& value = workflows::is_engine(task->kind) ? plan.at("spec") : plan.at("with");
    const auto filled = workflows::fill_in(value, template_scope(*run, store::tasks_of_run(connection, run_id)));
    return (filled.ok() ? *filled : value).dump(2);
  });
}

absl::StatusOr<std::vector<MetricSeries>> Runs::metrics(const std::string& run_id, const std::string& task_name,
                                                        const std::vector<std::string>& names, int32_t max_points) {
  return database_.read([&](store::Connection& connection) -> absl::StatusOr<std::vector<MetricSeries>> {
    if (!store::find_run(connection, run_id)) return base::not_found("run", run_id);
    const auto limit = static_cast<size_t>(max_points <= 0 ? kMaxPoints : std::min(max_points, kMaxPoints));
    std::vector<MetricSeries> all;
    for (const store::Task& task : store::tasks_of_run(connection, run_id)) {
      if (!task_name.empty() && task.name != task_name) continue;
      for (const std::string& name : store::metric_names(connection, task.id)) {
        if (!names.empty() && std::find(names.begin(), names.end(), name) == names.end()) continue;
        const std::vector<store::MetricPoint> points = store::metric_points(connection, task.id, name);
        std::vector<domain::XY> shape;
        shape.reserve(points.size());
        for (const store::MetricPoint& point : points) shape.push_back({static_cast<double>(point.step), point.value});
        MetricSeries series{task.name, name, {}};
        for (const size_t index : domain::thin(shape, limit)) series.points.push_back(points[index]);
        all.push_back(std::move(series));
      }
    }
    return all;
  });
}

absl::StatusOr<store::LogResult> Runs::log(const LogRequest& request) {
  if (request.search.size() > kMaxSearchBytes) {
    return base::invalid_argument("search", "the text to look for is longer than 1,000 bytes", "shorten it");
  }
  return database_.read([&](store::Connection& connection) -> absl::StatusOr<store::LogResult> {
    store::LogQuery query;
    query.scope_id = request.run_id;
    if (!store::find_run(connection, request.run_id) && !store::find_deployment(connection, request.run_id)) {
      return base::not_found("run", request.run_id);
    }
    if (!request.task.empty()) {
      const auto task = store::find_task_by_name(connection, request.run_id, request.task);
      if (!task) return base::not_found("task", request.run_id + "/" + request.task);
      query.owner_id = task->id;
    }
    query.after_position = request.after;
    query.before_position = request.before;
    query.tail = request.tail;
    query.limit = limit_of(request.limit);
    query.search = request.search;
    return store::list_log_lines(connection, query);
  });
}

absl::StatusOr<std::vector<store::RunEvent>> Runs::events(const std::string& run_id, int64_t after, int32_t limit,
                                                          const std::string& type) {
  return database_.read([&](store::Connection& connection) -> absl::StatusOr<std::vector<store::RunEvent>> {
    if (!store::find_run(connection, run_id) && !store::find_deployment(connection, run_id)) {
      return base::not_found("run", run_id);
    }
    return store::events_after(connection, run_id, after, INT64_MAX, limit_of(limit), type);
  });
}

}  // namespace slipway::service
