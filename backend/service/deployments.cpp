#include "backend/service/deployments.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "backend/base/status.h"
#include "backend/service/deployment_keys.h"
#include "backend/service/run_planning.h"
#include "backend/service/serving_settings.h"
#include "backend/store/replica_readings.h"

namespace slipway::service {
namespace {

using domain::DeploymentState;

constexpr int32_t kMaxSamplePoints = 2000;

// http://127.0.0.1:8080 -> 127.0.0.1:8080
std::string address_of(const std::string& url) {
  const size_t begin = url.find("://");
  std::string address = begin == std::string::npos ? url : url.substr(begin + 3);
  if (const size_t slash = address.find('/'); slash != std::string::npos) address.resize(slash);
  return address;
}

AdapterView adapter_view(store::DeploymentAdapter adapter, const std::optional<store::Attempt>& replica) {
  AdapterView view{std::move(adapter), AdapterView::State::kWaiting, {}, 0};
  if (!replica || replica->ready_url.empty()) return view;
  const auto said = nlohmann::json::parse(replica->adapters);
  const auto loaded = said.value("loaded", std::vector<std::string>());
  const auto failures = said.value("failures", nlohmann::json::object());
  view.state = AdapterView::State::kLoaded;  // when all its names are
  for (const std::string& name : view.adapter.served_names) {
    if (const auto failure = failures.find(name); failure != failures.end()) {
      view.state = AdapterView::State::kFailed;
      view.error = {failure->at(0), failure->at(1), failure->at(2)};
      return view;
    }
    if (std::find(loaded.begin(), loaded.end(), name) == loaded.end()) view.state = AdapterView::State::kLoading;
  }
  return view;
}

// As the latest reading of this replica says; nothing before there is one.
std::optional<ServingLimits> limits_of(store::Connection& connection, const store::Attempt& replica) {
  if (replica.ready_url.empty()) return std::nullopt;
  const auto latest = store::latest_reading(connection, replica.deployment_id);
  if (!latest || latest->reading.attempt_id != replica.id) return std::nullopt;
  const auto value = [&](const char* name) { return static_cast<int64_t>(latest->reading.value(name)); };
  ServingLimits limits;
  limits.max_model_len = value("slipway:max_model_len");
  limits.max_num_seqs = value("slipway:max_num_seqs");
  limits.kv_cache_tokens = value("slipway:kv_cache_tokens");
  const auto order = nlohmann::json::parse(replica.order_json);
  limits.queue = order.value(nlohmann::json::json_pointer("/spec/limits/queue"), int64_t{0});
  const std::map<int64_t, std::string> dtypes = {{32, "f32"}, {16, "bf16"}, {8, "int8"}, {4, "int4"}};
  if (const auto dtype = dtypes.find(value("slipway:weight_bits")); dtype != dtypes.end()) limits.dtype = dtype->second;
  return limits;
}

std::string reason_of(const store::Deployment& deployment) {
  if (!deployment.error.message.empty()) return deployment.error.message;
  if (!deployment.waiting_reason.empty()) return deployment.waiting_reason;
  return "the deployment is " + std::string(name_of(deployment.state));
}

}  // namespace

DeploymentView Deployments::view(store::Connection& connection, const store::Deployment& deployment) {
  DeploymentView view{deployment, "", "", {}, std::nullopt};
  const auto replica = store::latest_attempt_of_deployment(connection, deployment.id);
  if (replica) {
    view.node_id = replica->node_id;
    view.attempt_id = replica->id;
    view.limits = limits_of(connection, *replica);
  }
  for (store::DeploymentAdapter& adapter : store::deployment_adapters(connection, deployment.id)) {
    view.adapters.push_back(adapter_view(std::move(adapter), replica));
  }
  return view;
}

absl::StatusOr<DeploymentView> Deployments::create(const std::string& name, const std::string& model_version_id,
                                                   domain::ServingSettings settings) {
  std::vector<base::FieldViolation> violations = check_serving(settings);
  if (!is_served_name(name)) {
    violations.push_back({"name", "'" + name + "' cannot be the name of a deployment",
                          "use letters, digits, '.', '_' and '-', at most 100"});
  }
  if (model_version_id.empty()) {
    violations.push_back({"model_version_id", "no model version is given", "give an id, or name@version"});
  }
  if (!violations.empty()) return base::invalid_arguments(violations);
  const auto id = database_.write_returning([&](store::Transaction& transaction) {
    return conductor_.deploy(transaction, {name, model_version_id, settings, ""}, false);
  });
  if (!id.ok()) return id.status();
  wake_dispatcher_();
  return get(*id);
}

absl::StatusOr<DeploymentView> Deployments::update(const std::string& reference, const std::string& model_version_id,
                                                   std::optional<domain::ServingSettings> settings) {
  if (settings) {
    if (const auto wrong = check_serving(*settings); !wrong.empty()) return base::invalid_arguments(wrong);
  }
  return change(reference, [&](store::Transaction& transaction, const std::string& id) -> absl::Status {
    const auto former = store::find_deployment(transaction.connection(), id);
    Conductor::DeploymentRequest request{former->name, former->model_version_id, former->settings, former->run_id};
    if (settings) request.settings = *settings;
    if (!model_version_id.empty()) {
      const auto version = registry_.find_model_version(transaction.connection(), model_version_id);
      if (!version.ok()) return version.status();
      if (version->id != former->model_version_id) request.run_id.clear();
      request.model_version_id = version->id;
    }
    if (request.model_version_id == former->model_version_id && request.settings == former->settings) {
      return absl::OkStatus();
    }
    return conductor_.deploy(transaction, request, true).status();
  });
}

absl::StatusOr<DeploymentView> Deployments::get(const std::string& reference) {
  return database_.read([&](store::Connection& connection) -> absl::StatusOr<DeploymentView> {
    const auto deployment = store::find_deployment_by_reference(connection, reference);
    if (!deployment) return base::not_found("deployment", reference);
    DeploymentView found = view(connection, *deployment);
    add_calls(found);
    return found;
  });
}

absl::StatusOr<store::Page<DeploymentView>> Deployments::list(const store::PageRequest& request) {
  return database_.read([&](store::Connection& connection) -> absl::StatusOr<store::Page<DeploymentView>> {
    const auto page = store::list_deployments(connection, request);
    if (!page.ok()) return page.status();
    store::Page<DeploymentView> views;
    views.next_page_token = page->next_page_token;
    views.total = page->total;
    for (const store::Deployment& deployment : page->rows) {
      views.rows.push_back(view(connection, deployment));
      add_calls(views.rows.back());
    }
    return views;
  });
}

absl::StatusOr<DeploymentView> Deployments::change(const std::string& reference, const Change& action) {
  const absl::Status status = database_.write([&](store::Transaction& transaction) -> absl::Status {
    const auto deployment = store::find_deployment_by_reference(transaction.connection(), reference);
    if (!deployment) return base::not_found("deployment", reference);
    return action(transaction, deployment->id);
  });
  if (!status.ok()) return status;
  wake_dispatcher_();
  return get(reference);
}

absl::StatusOr<DeploymentView> Deployments::start(const std::string& reference) {
  return change(reference, [this](store::Transaction& transaction, const std::string& id) {
    return conductor_.start_deployment(transaction, id);
  });
}

absl::StatusOr<DeploymentView> Deployments::stop(const std::string& reference) {
  return change(reference, [this](store::Transaction& transaction, const std::string& id) {
    return conductor_.stop_deployment(transaction, id);
  });
}

absl::Status Deployments::remove(const std::string& reference) {
  const absl::Status status = database_.write([&](store::Transaction& transaction) -> absl::Status {
    const auto deployment = store::find_deployment_by_reference(transaction.connection(), reference);
    if (!deployment) return base::not_found("deployment", reference);
    const absl::Status stopped = conductor_.stop_deployment(transaction, deployment->id);
    if (!stopped.ok()) return stopped;
    DeploymentKeys::remove_all_of(transaction, deployment->id);
    store::delete_deployment(transaction.connection(), deployment->id);
    transaction.changed("deployment", deployment->id, deployment->run_id);
    return absl::OkStatus();
  });
  if (status.ok()) wake_dispatcher_();
  return status;
}

absl::StatusOr<std::vector<ServedDeployment>> Deployments::list_served() {
  return database_.read([](store::Connection& connection) -> absl::StatusOr<std::vector<ServedDeployment>> {
    std::map<std::string, std::vector<std::string>> adapters;
    for (const store::DeploymentAdapter& adapter : store::deployment_adapters(connection)) {
      std::vector<std::string>& names = adapters[adapter.deployment_id];
      names.insert(names.end(), adapter.served_names.begin(), adapter.served_names.end());
    }
    std::vector<ServedDeployment> all;
    for (const store::Deployment& deployment : store::all_deployments(connection)) {
      ServedDeployment served;
      served.id = deployment.id;
      served.name = deployment.name;
      served.served_names = deployment.served_names;
      const std::vector<std::string>& further = adapters[deployment.id];
      served.served_names.insert(served.served_names.end(), further.begin(), further.end());
      served.created_at_ms = deployment.created_at_ms;
      // Also while the version before serves, and while the node's agent is away.
      if (!deployment.url.empty()) {
        served.state = ServedDeployment::State::kReady;
        served.address = address_of(deployment.url);
      } else if (deployment.state == DeploymentState::kQueued || deployment.state == DeploymentState::kStarting) {
        served.state = ServedDeployment::State::kStarting;
      }
      if (served.state != ServedDeployment::State::kReady) served.reason = reason_of(deployment);
      all.push_back(std::move(served));
    }
    return all;
  });
}

absl::StatusOr<DeploymentView> Deployments::load_adapter(const std::string& reference, const std::string& name,
                                                         const std::string& model_version_id) {
  return change(reference, [&](store::Transaction& transaction, const std::string& id) -> absl::Status {
    store::Connection& connection = transaction.connection();
    const auto deployment = store::find_deployment(connection, id);
    if (!is_served_name(name)) {
      return base::invalid_argument("name", "'" + name + "' cannot be the name of an adapter",
                                    "use letters, digits, '.', '_' and '-', at most 100");
    }
    const auto version = registry_.find_model_version(connection, model_version_id);
    if (!version.ok()) return version.status();
    const bool of_base = deployment->base_version_id.empty();
    const std::string base = of_base ? deployment->model_version_id : deployment->base_version_id;
    const std::string base_label = of_base ? deployment->model_label : deployment->base_label;
    if (!version->adapter || version->reward || version->base_version_id != base) {
      return base::invalid_argument("model_version_id",
                                    version->label + " is no adapter of " + base_label + " that writes text",
                                    "choose an adapter that was trained on " + base_label);
    }
    const std::vector<std::string> names = domain::names_of_tasks(name, version->tasks);
    for (const std::string& each : names) {
      const absl::Status free = Conductor::check_free_name(connection, "", each, "name");
      if (!free.ok()) return free;
    }
    store::insert_deployment_adapter(connection, {id, name, names, version->id, version->label, transaction.now_ms()});
    transaction.changed("deployment", id, deployment->run_id);
    return absl::OkStatus();
  });
}

absl::StatusOr<DeploymentView> Deployments::unload_adapter(const std::string& reference, const std::string& name) {
  return change(reference, [&](store::Transaction& transaction, const std::string& id) -> absl::Status {
    const auto adapters = store::deployment_adapters(transaction.connection(), id);
    if (std::none_of(adapters.begin(), adapters.end(), [&](const auto& adapter) { return adapter.name == name; })) {
      return base::not_found("adapter", name);
    }
    store::delete_deployment_adapter(transaction.connection(), id, name);
    transaction.changed("deployment", id);
    return absl::OkStatus();
  });
}

absl::StatusOr<std::vector<domain::ServingSample>> Deployments::samples(const std::string& reference, int64_t since_ms,
                                                                        int32_t max_points) {
  return database_.read([&](store::Connection& connection) -> absl::StatusOr<std::vector<domain::ServingSample>> {
    const auto deployment = store::find_deployment_by_reference(connection, reference);
    if (!deployment) return base::not_found("deployment", reference);
    const int64_t points = max_points <= 0 ? kMaxSamplePoints : std::min(max_points, kMaxSamplePoints);
    std::vector<domain::ServingSample> samples;
    std::optional<domain::ReplicaReading> before;
    if (auto stored = store::reading_before(connection, deployment->id, since_ms)) before = std::move(stored->reading);
    for (store::StoredReading& stored : store::list_readings(connection, deployment->id, since_ms, points)) {
      if (before) {
        if (const auto sample = domain::between(*before, stored.reading)) samples.push_back(*sample);
      }
      before = std::move(stored.reading);
    }
    return samples;
  });
}

void Deployments::called(const std::string& model) {
  const std::lock_guard lock(calls_mutex_);
  last_calls_ms_[model] = clock_.now_ms();
}

void Deployments::add_calls(DeploymentView& view) {
  const std::lock_guard lock(calls_mutex_);
  for (AdapterView& adapter : view.adapters) {
    for (const std::string& name : adapter.adapter.served_names) {
      const auto last = last_calls_ms_.find(name);
      if (last != last_calls_ms_.end()) adapter.last_called_at_ms = std::max(adapter.last_called_at_ms, last->second);
    }
  }
}

absl::StatusOr<std::string> Deployments::find_replica(const std::string& model_name) {
  const auto all = list_served();
  if (!all.ok()) return all.status();
  for (const ServedDeployment& served : *all) {
    if (std::find(served.served_names.begin(), served.served_names.end(), model_name) == served.served_names.end()) {
      continue;
    }
    if (served.state == ServedDeployment::State::kReady) return served.address;
    return base::error(absl::StatusCode::kUnavailable, served.name + " is not ready: " + served.reason,
                       {"DEPLOYMENT_NOT_READY", "model", "try again when it is ready"});
  }
  return base::not_found("model", model_name);
}

}  // namespace slipway::service
