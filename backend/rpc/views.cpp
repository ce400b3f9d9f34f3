#include "backend/rpc/views.h"

#include <algorithm>
#include <cctype>

#include "backend/rpc/times.h"

namespace slipway::rpc {
namespace {

v1::RunState to_proto(domain::RunState state) { return static_cast<v1::RunState>(static_cast<int>(state) + 1); }
v1::TaskState to_proto(domain::TaskState state) { return static_cast<v1::TaskState>(static_cast<int>(state) + 1); }
v1::DeploymentState to_proto(domain::DeploymentState state) {
  return static_cast<v1::DeploymentState>(static_cast<int>(state) + 1);
}
static_assert(static_cast<int>(domain::RunState::kCancelled) + 1 == v1::RUN_STATE_CANCELLED);
static_assert(static_cast<int>(domain::TaskState::kSkipped) + 1 == v1::TASK_STATE_SKIPPED);
static_assert(static_cast<int>(domain::DeploymentState::kUnreachable) + 1 == v1::DEPLOYMENT_STATE_UNREACHABLE);

void fill_error(const domain::Failure& failure, const std::string& task, v1::RunError* message) {
  message->set_code(failure.code);
  message->set_message(failure.message);
  message->set_advice(failure.advice);
  message->set_task(task);
}

std::string state_name(const store::Attempt& attempt) {
  std::string state(name_of(attempt.state));
  std::transform(state.begin(), state.end(), state.begin(), [](unsigned char c) { return std::toupper(c); });
  return state;
}

void fill_rank(const store::Attempt& rank, v1::Attempt::Rank* message) {
  message->set_rank(rank.rank);
  message->set_node_id(rank.node_id);
  message->set_device(rank.device);
  message->set_state(state_name(rank));
}

void fill_attempt(const store::Attempt& attempt, v1::Attempt* message) {
  message->set_id(attempt.id);
  message->set_number(attempt.number);
  message->set_state(state_name(attempt));
  message->set_node_id(attempt.node_id);
  message->set_device(attempt.device);
  if (attempt.started_at_ms) set_time(message->mutable_started_at(), *attempt.started_at_ms);
  if (attempt.finished_at_ms) set_time(message->mutable_finished_at(), *attempt.finished_at_ms);
  if (attempt.exit_code) message->set_exit_code(*attempt.exit_code);
}

void fill_task(const service::RunView& view, const store::Task& task, v1::Task* message) {
  message->set_id(task.id);
  message->set_name(task.name);
  message->set_title(task.title);
  message->set_kind(task.kind);
  message->set_state(to_proto(task.state));
  if (const auto needs = view.needs.find(task.id); needs != view.needs.end()) {
    for (const std::string& need : needs->second) message->add_needs(need);
  }
  if (task.started_at_ms) set_time(message->mutable_started_at(), *task.started_at_ms);
  if (task.finished_at_ms) set_time(message->mutable_finished_at(), *task.finished_at_ms);
  if (!task.error.empty()) fill_error(task.error, task.name, message->mutable_error());
  if (const auto attempts = view.attempts.find(task.id); attempts != view.attempts.end()) {
    const store::Attempt* leader = nullptr;
    for (const store::Attempt& attempt : attempts->second) {
      if (attempt.leader_id.empty()) {
        leader = &attempt;
        fill_attempt(attempt, message->add_attempts());
      } else if (leader != nullptr) {  // the other ranks of a gang follow the row that stands for the attempt
        v1::Attempt* gang = message->mutable_attempts(message->attempts_size() - 1);
        if (gang->ranks().empty()) fill_rank(*leader, gang->add_ranks());
        fill_rank(attempt, gang->add_ranks());
      }
    }
  }
  if (!task.progress_phase.empty()) fill_progress(task, message->mutable_progress());
  message->set_waiting_reason(task.waiting_reason);
}

void fill_adapter(const service::AdapterView& view, v1::DeploymentAdapter* message) {
  message->set_name(view.adapter.name);
  for (const std::string& name : view.adapter.served_names) message->add_served_names(name);
  message->set_model_version_id(view.adapter.model_version_id);
  message->set_model_label(view.adapter.model_label);
  message->set_state(static_cast<v1::DeploymentAdapter::State>(static_cast<int>(view.state) + 1));
  if (!view.error.empty()) fill_error(view.error, "", message->mutable_error());
  set_time(message->mutable_created_at(), view.adapter.created_at_ms);
  if (view.last_called_at_ms != 0) set_time(message->mutable_last_called_at(), view.last_called_at_ms);
}
static_assert(static_cast<int>(service::AdapterView::State::kFailed) + 1 == v1::DeploymentAdapter::STATE_FAILED);

void fill_percentiles(const domain::Percentiles& percentiles, v1::DeploymentSample::Percentiles* message) {
  if (percentiles.p50) message->set_p50(*percentiles.p50);
  if (percentiles.p95) message->set_p95(*percentiles.p95);
  if (percentiles.p99) message->set_p99(*percentiles.p99);
}

}  // namespace

void fill_progress(const store::Task& task, v1::Progress* message) {
  message->set_phase(task.progress_phase);
  message->set_done(task.progress_done);
  message->set_total(task.progress_total);
  message->set_unit(task.progress_unit);
  message->set_eta_s(task.progress_eta_s);
}

void fill(const service::RunView& view, v1::Run* message) {
  const store::Run& run = view.run;
  message->set_id(run.id);
  message->set_name(run.name);
  message->set_workflow(run.workflow);
  message->set_state(to_proto(run.state));
  message->mutable_parameters()->insert(view.parameters.begin(), view.parameters.end());
  for (const store::Task& task : view.tasks) fill_task(view, task, message->add_tasks());
  set_time(message->mutable_created_at(), run.created_at_ms);
  if (run.started_at_ms) set_time(message->mutable_started_at(), *run.started_at_ms);
  if (run.finished_at_ms) set_time(message->mutable_finished_at(), *run.finished_at_ms);
  if (!run.error.empty()) fill_error(run.error, run.error_task, message->mutable_error());
  message->set_created_by(run.created_by);
  message->mutable_results()->insert(view.results.begin(), view.results.end());
  message->set_waiting_reason(view.waiting_reason);
  message->set_model_version_id(run.model_version_id);
  message->set_deployment_id(run.deployment_id);
  message->set_sweep_id(run.sweep_id);
  message->set_estimate(run.estimate);
  message->mutable_predictions()->insert(view.predictions.begin(), view.predictions.end());
}

void fill_settings(const domain::ServingSettings& settings, v1::ServingSettings* message) {
  message->set_dtype(settings.dtype);
  message->set_kv_cache_dtype(settings.kv_cache_dtype);
  message->set_max_model_len(settings.max_model_len);
  message->set_max_num_seqs(settings.max_num_seqs);
  message->set_queue(settings.queue);
  message->set_kv_cache_tokens(settings.kv_cache_tokens);
  message->set_threads(settings.threads);
  message->set_speculative_tokens(settings.speculative_tokens);
}

void fill(const service::DeploymentView& view, v1::Deployment* message) {
  const store::Deployment& deployment = view.deployment;
  message->set_id(deployment.id);
  message->set_name(deployment.name);
  message->set_state(to_proto(deployment.state));
  message->set_model_version_id(deployment.model_version_id);
  message->set_model_label(deployment.model_label);
  message->set_base_version_id(deployment.base_version_id);
  message->set_base_label(deployment.base_label);
  for (const std::string& name : deployment.served_names) message->add_served_names(name);
  set_time(message->mutable_created_at(), deployment.created_at_ms);
  if (deployment.ready_at_ms) set_time(message->mutable_ready_at(), *deployment.ready_at_ms);
  if (!deployment.error.empty()) fill_error(deployment.error, "", message->mutable_error());
  message->set_run_id(deployment.run_id);
  message->set_node_id(view.node_id);
  fill_settings(deployment.settings, message->mutable_settings());
  message->set_waiting_reason(deployment.waiting_reason);
  message->set_attempt_id(view.attempt_id);
  for (const service::AdapterView& adapter : view.adapters) fill_adapter(adapter, message->add_adapters());
  if (view.limits) {
    message->mutable_limits()->set_max_model_len(view.limits->max_model_len);
    message->mutable_limits()->set_max_num_seqs(view.limits->max_num_seqs);
    message->mutable_limits()->set_queue(view.limits->queue);
    message->mutable_limits()->set_kv_cache_tokens(view.limits->kv_cache_tokens);
    message->mutable_limits()->set_dtype(view.limits->dtype);
  }
}

void fill(const domain::ServingSample& sample, v1::DeploymentSample* message) {
  set_time(message->mutable_time(), sample.time_ms);
  message->set_interval_seconds(sample.interval_s);
  message->set_attempt_id(sample.attempt_id);
  message->set_running(sample.running);
  message->set_waiting(sample.waiting);
  message->set_kv_cache_usage(sample.kv_cache_usage);
  message->set_prompt_tokens_per_second(sample.prompt_tokens_per_s);
  message->set_generation_tokens_per_second(sample.generation_tokens_per_s);
  message->set_requests_per_second(sample.requests_per_s);
  if (sample.prefix_cache_hits) message->set_prefix_cache_hits(*sample.prefix_cache_hits);
  message->set_preemptions(sample.preemptions);
  message->set_adapters(sample.adapters);
  message->set_adapters_in_memory(sample.adapters_in_memory);
  message->set_memory_bytes(sample.memory_bytes);
  fill_percentiles(sample.first_token, message->mutable_time_to_first_token());
  fill_percentiles(sample.inter_token, message->mutable_inter_token());
}

void fill(const service::NodeSample& sample, v1::NodeSample* message) {
  set_time(message->mutable_time(), sample.time_ms);
  message->set_cpu_utilization(sample.cpu_utilization);
  message->set_memory_used_bytes(sample.memory_used_bytes);
  message->set_memory_total_bytes(sample.memory_total_bytes);
  message->set_disk_used_bytes(sample.disk_used_bytes);
  message->set_disk_total_bytes(sample.disk_total_bytes);
  message->set_disk_read_bytes_per_second(sample.disk_read_bytes_per_second);
  message->set_disk_write_bytes_per_second(sample.disk_write_bytes_per_second);
  for (const service::GpuSample& gpu : sample.gpus) {
    v1::GpuSample* added = message->add_gpus();
    added->set_device_id(gpu.device_id);
    added->set_utilization(gpu.utilization);
    added->set_memory_used_bytes(gpu.memory_used_bytes);
    added->set_memory_total_bytes(gpu.memory_total_bytes);
    added->set_power_watts(gpu.power_watts);
    added->set_temperature_celsius(gpu.temperature_celsius);
  }
}

void fill(const service::NodeView& view, v1::Node* message) {
  message->set_id(view.node.id);
  message->set_name(view.node.name);
  message->set_state(view.node.online ? v1::NODE_STATE_ONLINE : v1::NODE_STATE_OFFLINE);
  set_time(message->mutable_last_seen_at(), view.node.last_seen_at_ms);
  set_time(message->mutable_joined_at(), view.node.joined_at_ms);
  message->set_cpu_model(view.facts.cpu_model);
  message->set_cpu_cores(view.facts.cpu_cores);
  message->set_memory_bytes(view.facts.memory_bytes);
  message->set_disk_bytes(view.facts.disk_bytes);
  message->set_os(view.facts.os);
  for (const std::string& feature : view.facts.cpu_features) message->add_cpu_features(feature);
  for (const service::DeviceFacts& device : view.facts.devices) {
    v1::Device* added = message->add_devices();
    added->set_id(device.id);
    added->set_kind(device.kind);
    added->set_name(device.name);
    added->set_memory_bytes(device.memory_bytes);
    if (const auto holder = view.holders.find(device.id); holder != view.holders.end()) {
      added->set_attempt_id(holder->second);
    }
  }
  message->set_agent_version(view.facts.agent_version);
  if (view.latest_sample) fill(*view.latest_sample, message->mutable_latest_sample());
}

void fill(const store::LogLine& line, v1::LogLine* message) {
  message->set_number(line.number);
  message->set_text(line.text);
  message->set_stream(line.stream);
  set_time(message->mutable_time(), line.time_ms);
  message->set_task(line.task_name);
  message->set_attempt(line.attempt_number);
  message->set_rank(line.rank);
  message->set_cursor(line.position);
}

void fill(const store::RunEvent& event, v1::RunEvent* message) {
  message->set_cursor(event.position);
  set_time(message->mutable_time(), event.time_ms);
  message->set_task(event.task_name);
  message->set_attempt(event.attempt_number);
  message->set_json(event.json);
  message->set_message(event.message);
  message->set_seq(event.seq);
  message->set_type(event.type);
}

store::PageRequest page_request(const v1::PageRequest& request) {
  return {request.page_size(), request.page_token(), request.filter()};
}

void fill_page(const std::string& next_page_token, int64_t total, v1::PageInfo* message) {
  message->set_next_page_token(next_page_token);
  message->set_total(total);
}

}  // namespace slipway::rpc
