// Attempts: what agents report, and what engines say. See conductor.h.
#include <cmath>

#include "backend/base/clock.h"
#include "backend/base/status.h"
#include "backend/domain/run.h"
#include "backend/service/conductor.h"
#include "backend/store/lines.h"
#include "workflows/plan.h"

namespace slipway::service {
namespace {

using domain::AttemptState;
using domain::TaskState;
using workflows::Json;

constexpr size_t kMaxMetricsPerEvent = 200;
constexpr size_t kMaxNameBytes = 200;

// Of a gang's rank 0, which ended without success: by no fault of the work, so that it is worth another try.
bool lost_a_rank(const store::Attempt& leader, const AttemptReport& report) {
  return leader.error.code == "RANK_LOST" || (leader.error.empty() && (leader.broken || report.signal != 0));
}

// Reads the results that the plan asks for out of the returned files, and out of what the task reported.
absl::StatusOr<Json> read_results(store::Connection& connection, const std::string& task_id,
                                  const workflows::Task& plan, const AttemptReport& report) {
  Json results = Json::object();
  for (const workflows::TaskResult& result : plan.results) {
    if (!result.metric.empty()) {
      const auto last = store::last_metric_point(connection, task_id, result.metric);
      results[result.name] = last ? Json(last->value) : Json();
      continue;
    }
    const auto file = report.returned_files.find(result.file);
    const auto missing = [&](const std::string& why) {
      return base::failed_precondition("RESULT_MISSING", "task " + plan.name + ": " + result.file + " " + why,
                                       "look at the task's log; engine and workflow may be of different versions");
    };
    if (file == report.returned_files.end()) return missing("did not come back");
    const Json content = Json::parse(file->second, nullptr, false);
    if (content.is_discarded()) return missing("is not JSON");
    const Json::json_pointer pointer(result.pointer);
    if (!content.contains(pointer)) return missing("has no " + result.pointer);
    results[result.name] = content.at(pointer);
  }
  return results;
}

// The JSON object that slipway-train --plan printed last.
absl::StatusOr<Json> read_estimate(const AttemptReport& report) {
  const auto file = report.returned_files.find(kEstimateFile);
  const std::string text = file == report.returned_files.end() ? "" : file->second;
  const size_t line = text.rfind("\n{\n");
  const Json content = Json::parse(line == std::string::npos ? text : text.substr(line), nullptr, false);
  if (!content.is_object()) {
    return base::failed_precondition("RESULT_MISSING", "slipway-train printed no estimate",
                                     "look at the task's log; engine and backend may be of different versions");
  }
  Json results = Json::object();
  for (const auto& [name, value] : content.items()) {
    if (value.is_boolean()) results[name] = value.get<bool>() ? 1 : 0;
    if (value.is_number()) results[name] = value;
  }
  return results;
}

int64_t integer_of(const Json& event, const char* key) {
  const auto found = event.find(key);
  return found != event.end() && found->is_number() ? static_cast<int64_t>(found->get<double>()) : 0;
}

std::string text_of(const Json& event, const char* key, size_t max_bytes = 10'000) {
  const auto found = event.find(key);
  if (found == event.end() || !found->is_string()) return "";
  std::string text = found->get<std::string>();
  if (text.size() > max_bytes) text.resize(max_bytes);
  return text;
}

void put_metrics(store::Transaction& transaction, const store::Attempt& attempt, const Json& event, int64_t time_ms) {
  const auto values = event.find("values");
  if (attempt.task_id.empty() || values == event.end() || !values->is_object()) return;
  size_t count = 0;
  for (const auto& [name, value] : values->items()) {
    if (!value.is_number() || !std::isfinite(value.get<double>()) || name.size() > kMaxNameBytes) continue;
    if (++count > kMaxMetricsPerEvent) break;
    store::put_metric(transaction.connection(), attempt.task_id, name, integer_of(event, "step"), value.get<double>(),
                      time_ms);
  }
}

void put_progress(store::Transaction& transaction, const store::Attempt& attempt, const Json& event) {
  if (attempt.task_id.empty()) return;
  auto task = store::find_task(transaction.connection(), attempt.task_id);
  if (!task) return;
  task->progress_phase = text_of(event, "phase", kMaxNameBytes);
  task->progress_done = integer_of(event, "done");
  task->progress_total = integer_of(event, "total");
  task->progress_unit = text_of(event, "unit", kMaxNameBytes);
  const auto eta = event.find("eta_s");
  task->progress_eta_s = eta != event.end() && eta->is_number() ? eta->get<double>() : -1;
  store::update_task_progress(transaction.connection(), *task);
  transaction.changed("task_progress", task->id, task->run_id);
}

}  // namespace

domain::Failure failure_of(const store::Attempt& attempt, const AttemptReport& report) {
  if (!attempt.error.empty()) return attempt.error;
  if (!report.code.empty() || !report.message.empty()) return {report.code, report.message, report.advice};
  std::string message = "slipway-" + attempt.engine;
  if (report.signal != 0) {
    message += " was ended by signal " + std::to_string(report.signal);
  } else if (report.exit_code) {
    message += " left with exit status " + std::to_string(*report.exit_code);
  } else {
    message += " ended";
  }
  return {"ENGINE_FAILED", message, "look at the end of its log"};
}

absl::Status Conductor::report(store::Transaction& transaction, const store::Attempt& known,
                               const AttemptReport& report) {
  if (is_final(known.state)) return absl::OkStatus();
  if (report.state == AttemptReport::State::kPrepared) {
    store::Attempt prepared = known;
    prepared.meeting = report.meeting;
    store::update_attempt(transaction.connection(), prepared);
    return absl::OkStatus();
  }
  if (!known.leader_id.empty()) return report_rank(transaction, known, report);
  using State = AttemptReport::State;
  switch (report.state) {
    case State::kPreparing:
    case State::kPrepared:
      return absl::OkStatus();
    case State::kRunning:
    case State::kUploading: {
      if (known.state == AttemptState::kRunning) return absl::OkStatus();
      store::Attempt attempt = known;
      attempt.state = AttemptState::kRunning;
      attempt.started_at_ms = transaction.now_ms();
      store::update_attempt(transaction.connection(), attempt);
      if (attempt.task_id.empty()) return advance_deployment(transaction, attempt.deployment_id);
      transaction.changed("run", attempt.run_id, attempt.run_id);
      return absl::OkStatus();
    }
    case State::kSucceeded:
      return end_attempt(transaction, known, AttemptState::kSucceeded, report);
    case State::kFailed:
      return end_attempt(transaction, known, AttemptState::kFailed, report);
    case State::kStopped:
      return end_attempt(transaction, known, AttemptState::kStopped, report);
  }
  return absl::OkStatus();
}

absl::Status Conductor::lose(store::Transaction& transaction, const store::Attempt& attempt, const std::string& why) {
  if (is_final(attempt.state)) return absl::OkStatus();
  AttemptReport report;
  report.attempt_id = attempt.id;
  report.code = "ATTEMPT_LOST";
  report.message = why;
  report.advice = "see whether the node and its disk are well, then retry";
  if (!attempt.leader_id.empty()) return end_rank(transaction, attempt, AttemptState::kLost, report);
  return end_attempt(transaction, attempt, AttemptState::kLost, report);
}

absl::Status Conductor::end_attempt(store::Transaction& transaction, store::Attempt attempt, AttemptState state,
                                    const AttemptReport& report) {
  if (!store::ranks_of(transaction.connection(), attempt.id).empty()) {
    stop_ranks(transaction, attempt.id);
    const bool failed = state != AttemptState::kSucceeded && !attempt.stop_asked;
    if (failed && lost_a_rank(attempt, report)) state = AttemptState::kLost;
  }
  attempt.state = state;
  attempt.finished_at_ms = transaction.now_ms();
  attempt.exit_code = report.exit_code;
  attempt.ready_url.clear();
  if (state == AttemptState::kSucceeded) {
    attempt.error = {};
  } else if (state != AttemptState::kStopped || !attempt.stop_asked) {
    attempt.error = failure_of(attempt, report);
  }
  // A replica's folder holds nothing that another could go on from.
  if (attempt.task_id.empty()) attempt.released = true;
  store::update_attempt(transaction.connection(), attempt);
  if (!attempt.task_id.empty()) return end_task_attempt(transaction, attempt, report);

  if (auto deployment = store::find_deployment(transaction.connection(), attempt.deployment_id)) {
    const bool unasked_end = state != AttemptState::kFailed && !attempt.stop_asked;
    if (unasked_end) {
      ++deployment->losses;
      store::update_deployment(transaction.connection(), *deployment);
    }
    return advance_deployment(transaction, deployment->id);
  }
  return absl::OkStatus();
}

absl::Status Conductor::end_task_attempt(store::Transaction& transaction, const store::Attempt& attempt,
                                         const AttemptReport& report) {
  store::Connection& connection = transaction.connection();
  store::Task task = store::find_task(connection, attempt.task_id).value();
  const bool unasked_end =
      attempt.state == AttemptState::kLost || (attempt.state == AttemptState::kStopped && !attempt.stop_asked);
  if (unasked_end) ++task.losses;
  const domain::TaskResult result = domain::after_attempt(attempt.state, attempt.stop_asked, task.losses);
  task.state = result.state;
  task.waiting_reason.clear();
  note(transaction, attempt.run_id, task.id, attempt.id, "attempt",
       "attempt " + std::to_string(attempt.number) + " of task " + task.name + " " +
           std::string(name_of(attempt.state)) + (attempt.error.message.empty() ? "" : ": " + attempt.error.message));
  if (task.state == TaskState::kSucceeded) {
    auto run = store::find_run(connection, attempt.run_id);
    const bool estimates = run && run->estimate && task.kind == "train";
    const auto results =
        estimates ? read_estimate(report)
                  : read_results(connection, task.id, workflows::task_from_json(Json::parse(task.plan)), report);
    if (results.ok() && estimates) {
      run->results = results->dump();
      store::update_run(connection, *run);
    }
    if (results.ok()) {
      task.artifacts = Json(report.artifact_ids).dump();
      task.results = results->dump();
    } else {
      task.state = TaskState::kFailed;
      task.error = {base::detail_of(results.status()).reason, std::string(results.status().message()),
                    base::detail_of(results.status()).advice};
    }
    store::release_work(connection, attempt.work_key);
  } else if (task.state == TaskState::kFailed) {
    task.error = attempt.error;
  }
  if (is_final(task.state)) task.finished_at_ms = transaction.now_ms();
  store::update_task(connection, task);
  if (auto run = store::find_run(connection, attempt.run_id); run && !run->estimate) refresh_results(transaction, *run);
  transaction.changed("run", attempt.run_id, attempt.run_id);
  return advance_run(transaction, attempt.run_id);
}

absl::Status Conductor::take_event(store::Transaction& transaction, const std::string& attempt_id,
                                   const std::string& line, int64_t received_ms) {
  // As it is now: an earlier line of the same batch may have changed it.
  const auto found = store::find_attempt(transaction.connection(), attempt_id);
  if (!found) return base::not_found("attempt", attempt_id);
  const store::Attempt& attempt = *found;
  store::RunEvent event;
  event.time_ms = received_ms;
  event.json = line;
  const Json content = Json::parse(line, nullptr, false);
  if (!content.is_object()) {
    event.type = "unreadable";
    store::insert_event(transaction, {attempt.scope_id(), attempt.owner_id(), attempt.id}, event);
    return absl::OkStatus();
  }
  event.type = text_of(content, "type", kMaxNameBytes);
  event.seq = integer_of(content, "seq");
  const int64_t time_ms = base::parse_rfc3339(text_of(content, "time", kMaxNameBytes));
  if (time_ms >= 0) event.time_ms = time_ms;
  store::insert_event(transaction, {attempt.scope_id(), attempt.owner_id(), attempt.id}, event);
  if (event.type == "metric") {
    put_metrics(transaction, attempt, content, event.time_ms);
  } else if (event.type == "progress") {
    put_progress(transaction, attempt, content);
  } else if (event.type == "error") {
    store::Attempt failed = attempt;
    failed.error = {text_of(content, "code"), text_of(content, "message"), text_of(content, "advice")};
    store::update_attempt(transaction.connection(), failed);
  } else if (!attempt.deployment_id.empty() && (event.type == "ready" || event.type == "started")) {
    return replica_event(transaction, attempt, event.type, text_of(content, "url"));
  } else if (event.type == "started" && !attempt.error.empty()) {
    // The agent started the engine again after a crash: what it said before it fell is over.
    store::Attempt again = attempt;
    again.error = {};
    store::update_attempt(transaction.connection(), again);
  }
  return absl::OkStatus();
}

absl::Status Conductor::replica_event(store::Transaction& transaction, store::Attempt attempt, const std::string& type,
                                      const std::string& url) {
  if (is_final(attempt.state)) return absl::OkStatus();
  attempt.ready_url = type == "ready" ? url : "";
  attempt.adapters = "{}";  // loaded again by the dispatcher
  // An engine that the agent started again after a crash: what it said before it fell is over.
  attempt.error = {};
  if (attempt.state == AttemptState::kStarting) {
    attempt.state = AttemptState::kRunning;
    attempt.started_at_ms = transaction.now_ms();
  }
  store::update_attempt(transaction.connection(), attempt);
  return advance_deployment(transaction, attempt.deployment_id);
}

}  // namespace slipway::service
