// Runs and their tasks. See conductor.h.
#include <cmath>

#include "absl/strings/str_format.h"
#include "backend/base/ids.h"
#include "backend/base/status.h"
#include "backend/domain/run.h"
#include "backend/service/conductor.h"
#include "backend/service/serving_settings.h"
#include "backend/store/lines.h"
#include "workflows/plan.h"
#include "workflows/template.h"

namespace slipway::service {
namespace {

using domain::AttemptState;
using domain::Decision;
using domain::RunState;
using domain::TaskState;
using workflows::Json;

constexpr int kTaskRestarts = 3;
constexpr int kTaskGraceSeconds = 60;

domain::Failure failure_of(const absl::Status& status) {
  const base::ErrorDetail detail = base::detail_of(status);
  return {detail.reason.empty() ? "INTERNAL" : detail.reason, std::string(status.message()), detail.advice};
}

domain::RunFacts facts_of(const store::Run& run, const std::vector<store::Task>& tasks) {
  domain::RunFacts facts{run.state, {}};
  for (const store::Task& task : tasks) {
    facts.tasks.push_back({task.name,
                           workflows::is_engine(task.kind) ? domain::TaskDoer::kEngine : domain::TaskDoer::kBackend,
                           task.state, Json::parse(task.plan).at("needs").get<std::vector<std::string>>()});
  }
  return facts;
}

std::string in_words(double value) { return absl::StrFormat("%.4g", value); }

}  // namespace

Json template_scope(const store::Run& run, const std::vector<store::Task>& tasks) {
  Json scope = {{"parameters", Json::parse(run.values_json)},
                {"run", {{"id", run.id}, {"name", run.name}, {"slug", workflows::slug_of(run.name)}}},
                {"tasks", Json::object()}};
  for (const store::Task& task : tasks) {
    scope["tasks"][task.name] = {{"artifacts", Json::parse(task.artifacts)}, {"results", Json::parse(task.results)}};
  }
  return scope;
}

void Conductor::note(store::Transaction& transaction, const std::string& run_id, const std::string& task_id,
                     const std::string& attempt_id, const std::string& type, const std::string& message) {
  store::RunEvent own;
  own.time_ms = transaction.now_ms();
  own.type = type;
  own.message = message;
  store::insert_event(transaction, {run_id, task_id, attempt_id}, own);
}

absl::Status Conductor::advance_run(store::Transaction& transaction, const std::string& run_id) {
  store::Connection& connection = transaction.connection();
  // Each round changes a state, of which there are few; the bound only guards against a mistake here.
  for (int round = 0; round < 1000; ++round) {
    auto run = store::find_run(connection, run_id);
    if (!run) return base::not_found("run", run_id);
    const std::vector<store::Task> tasks = store::tasks_of_run(connection, run_id);
    bool changed = false;
    for (const Decision& decision : domain::advance_run(facts_of(*run, tasks))) {
      if (decision.kind == Decision::Kind::kSetRunState) {
        end_run(transaction, *run, decision.run_state);
        changed = true;
        continue;
      }
      store::Task task = store::find_task_by_name(connection, run_id, decision.task).value();
      absl::Status status;
      switch (decision.kind) {
        case Decision::Kind::kQueueTask:
          status = queue_task(transaction, *run, std::move(task));
          break;
        case Decision::Kind::kDoTask:
          status = do_task(transaction, *run, std::move(task));
          break;
        case Decision::Kind::kCancelTask:
          cancel_task(transaction, task);
          break;
        case Decision::Kind::kSkipTask:
          task.state = TaskState::kSkipped;
          task.waiting_reason = "task " + decision.because + " did not succeed";
          store::update_task(connection, task);
          break;
        case Decision::Kind::kStopTask:
          if (!stop_task(transaction, task)) continue;  // it has been asked already
          break;
        case Decision::Kind::kSetRunState:
          break;
      }
      if (!status.ok()) return status;
      changed = true;
      // What the backend did may have moved the run on by itself: decide anew.
      if (decision.kind == Decision::Kind::kDoTask) break;
    }
    if (!changed) return absl::OkStatus();
    transaction.changed("run", run_id, run_id);
  }
  return base::error(absl::StatusCode::kInternal, "run " + run_id + " does not come to rest",
                     {"INTERNAL", "", "report this"});
}

absl::Status Conductor::queue_task(store::Transaction& transaction, const store::Run& run, store::Task task) {
  store::Connection& connection = transaction.connection();
  const workflows::Task plan = workflows::task_from_json(Json::parse(task.plan));
  const Json scope = template_scope(run, store::tasks_of_run(connection, run.id));
  const auto spec = workflows::fill_in(plan.spec, scope);
  if (!spec.ok()) {
    fail_task(transaction, task, failure_of(spec.status()));
    return absl::OkStatus();
  }
  Json order = {{"spec", *spec},
                {"inputs", Json::array()},
                {"upload_artifacts", plan.upload_artifacts},
                {"return_files", plan.return_files},
                {"restarts", kTaskRestarts},
                {"grace_seconds", kTaskGraceSeconds}};
  if (run.estimate && plan.kind == "train") order["plan"] = true;
  if (const auto nodes = workflows::fill_in(plan.nodes, scope); nodes.ok() && nodes->is_number())
    order["nodes"] = *nodes;
  for (const workflows::TaskInput& input : plan.inputs) {
    const auto artifact = workflows::fill_in(input.artifact, scope);
    if (artifact.ok() && artifact->is_null()) continue;
    if (!artifact.ok() || !artifact->is_string()) {
      fail_task(
          transaction, task,
          {"INPUT_MISSING", "the input " + input.path + " of task " + task.name + " is not there", "retry the run"});
      return absl::OkStatus();
    }
    order["inputs"].push_back({{"artifact_id", *artifact}, {"path", input.path}});
  }
  const auto before = store::latest_attempt_of_task(connection, task.id);
  store::Attempt attempt;
  attempt.id = base::new_id("attempt", transaction.now_ms());
  attempt.run_id = run.id;
  attempt.task_id = task.id;
  attempt.number = before ? before->number + 1 : 1;
  attempt.engine = plan.kind;
  attempt.order_json = order.dump();
  // All attempts of a task share a work folder: a later one goes on from the checkpoint of the one before.
  attempt.work_key = task.id;
  attempt.created_at_ms = transaction.now_ms();
  store::insert_attempt(connection, attempt);
  task.state = TaskState::kQueued;
  task.error = {};
  task.finished_at_ms.reset();
  task.progress_phase.clear();
  task.progress_done = task.progress_total = 0;
  task.progress_eta_s = -1;
  store::update_task(connection, task);
  store::update_task_progress(connection, task);
  note(transaction, run.id, task.id, attempt.id, "task",
       "task " + task.name + " queued, attempt " + std::to_string(attempt.number));
  return absl::OkStatus();
}

absl::Status Conductor::do_task(store::Transaction& transaction, store::Run& run, store::Task task) {
  store::Connection& connection = transaction.connection();
  const workflows::Task plan = workflows::task_from_json(Json::parse(task.plan));
  task.started_at_ms = transaction.now_ms();
  task.finished_at_ms.reset();
  task.error = {};
  task.state = TaskState::kSucceeded;
  // What a failing task wrote is undone; the run goes on with its failure.
  connection.exec("SAVEPOINT task");
  absl::Status status;
  const auto with = workflows::fill_in(plan.with, template_scope(run, store::tasks_of_run(connection, run.id)));
  if (!with.ok()) {
    status = with.status();
  } else if (plan.kind == "gate") {
    status = gate(*with, task).status();
  } else if (plan.kind == "register") {
    status = register_model(transaction, run, *with, task);
  } else if (plan.kind == "deploy") {
    status = deploy_model(transaction, run, *with, task);
  } else {
    status = base::failed_precondition("UNKNOWN_TASK", "this slipwayd does not know tasks of kind " + plan.kind,
                                       "update it");
  }
  if (!status.ok()) {
    connection.exec("ROLLBACK TO task; RELEASE task");
    fail_task(transaction, task, failure_of(status));
    return absl::OkStatus();
  }
  connection.exec("RELEASE task");
  if (task.state != TaskState::kRunning) task.finished_at_ms = transaction.now_ms();
  store::update_task(connection, task);
  store::update_run(connection, run);
  note(transaction, run.id, task.id, "", "task", "task " + task.name + " " + std::string(name_of(task.state)));
  if (task.state != TaskState::kRunning) return absl::OkStatus();
  const auto deployment = store::find_deployment(connection, run.deployment_id);
  return deployment ? settle_deploy_task(transaction, *deployment) : absl::OkStatus();
}

absl::StatusOr<bool> Conductor::gate(const Json& with, store::Task& task) {
  const Json value = with.value("value", Json()), below = with.value("below", Json());
  const std::string name = with.value("name", "the value");
  if (!value.is_number() || !below.is_number()) {
    return base::failed_precondition("RESULT_MISSING", "the gate has no numbers to compare",
                                     "look at the tasks before it");
  }
  task.results = Json{{"value", value}, {"below", below}}.dump();
  if (value.get<double>() < below.get<double>()) return true;
  return base::failed_precondition(
      "GATE_NOT_PASSED", name + " is " + in_words(value.get<double>()) + ", not below " + in_words(below.get<double>()),
      with.value("advice", ""));
}

absl::Status Conductor::register_model(store::Transaction& transaction, store::Run& run, const Json& with,
                                       store::Task& task) {
  NewModelVersion version;
  version.model_name = with.at("name");
  version.artifact_id = with.at("artifact");
  version.base_version_id = with.value("base_version", "");
  version.adapter = !version.base_version_id.empty();
  version.run_id = run.id;
  version.description = with.value("description", "");
  const Json metrics = with.value("metrics", Json::object());
  for (const auto& [name, value] : metrics.items()) {
    if (value.is_number()) version.metrics[name] = value.get<double>();
  }
  const auto id = registry_.register_version(transaction, version);
  if (!id.ok()) return id.status();
  run.model_version_id = *id;
  task.results = Json{{"model_version", *id}}.dump();
  return absl::OkStatus();
}

absl::Status Conductor::deploy_model(store::Transaction& transaction, store::Run& run, const Json& with,
                                     store::Task& task) {
  domain::ServingSettings settings = store::serving_settings_of(with);
  if (const auto wrong = check_serving(settings); !wrong.empty()) return base::invalid_arguments(wrong);
  const auto id = deploy(transaction, {with.at("name"), with.at("model_version"), settings, run.id}, true);
  if (!id.ok()) return id.status();
  run.deployment_id = *id;
  task.results = Json{{"deployment", *id}}.dump();
  // It has succeeded when the deployment is ready: settle_deploy_task.
  task.state = TaskState::kRunning;
  return absl::OkStatus();
}

void Conductor::fail_task(store::Transaction& transaction, store::Task& task, const domain::Failure& failure) {
  task.state = TaskState::kFailed;
  task.finished_at_ms = transaction.now_ms();
  task.error = failure;
  task.waiting_reason.clear();
  store::update_task(transaction.connection(), task);
  note(transaction, task.run_id, task.id, "", "task", "task " + task.name + " failed: " + failure.message);
}

bool Conductor::stop_task(store::Transaction& transaction, store::Task& task) {
  if (!workflows::is_engine(task.kind)) {
    cancel_task(transaction, task);
    return true;
  }
  auto attempt = store::latest_attempt_of_task(transaction.connection(), task.id);
  if (!attempt || attempt->stop_asked) return false;
  attempt->stop_asked = true;
  store::update_attempt(transaction.connection(), *attempt);
  stop_ranks(transaction, attempt->id);
  return true;
}

void Conductor::cancel_task(store::Transaction& transaction, store::Task& task) {
  store::Connection& connection = transaction.connection();
  if (auto attempt = store::latest_attempt_of_task(connection, task.id);
      attempt && attempt->state == AttemptState::kPending) {
    attempt->state = AttemptState::kStopped;
    attempt->stop_asked = true;
    attempt->finished_at_ms = transaction.now_ms();
    store::update_attempt(connection, *attempt);
  }
  task.state = TaskState::kCancelled;
  task.finished_at_ms = transaction.now_ms();
  task.waiting_reason.clear();
  store::update_task(connection, task);
}

void Conductor::end_run(store::Transaction& transaction, store::Run& run, RunState state) {
  run.state = state;
  if (!run.started_at_ms) run.started_at_ms = transaction.now_ms();
  if (is_final(state)) run.finished_at_ms = transaction.now_ms();
  if (state == RunState::kFailed) {
    for (const store::Task& task : store::tasks_of_run(transaction.connection(), run.id)) {
      if (task.state != TaskState::kFailed) continue;
      run.error = task.error;
      run.error_task = task.name;
      break;
    }
  }
  store::update_run(transaction.connection(), run);
  note(transaction, run.id, "", "", "run",
       "run " + std::string(name_of(state)) + (run.error.message.empty() ? "" : ": " + run.error.message));
}

void Conductor::refresh_results(store::Transaction& transaction, store::Run& run) {
  const Json scope = template_scope(run, store::tasks_of_run(transaction.connection(), run.id));
  Json results = Json::object();
  const Json plan = Json::parse(run.results_plan);
  for (const auto& [name, value] : plan.items()) {
    const auto filled = workflows::fill_in(value, scope);
    if (filled.ok() && filled->is_number()) results[name] = *filled;
  }
  run.results = results.dump();
  store::update_run(transaction.connection(), run);
}

}  // namespace slipway::service
