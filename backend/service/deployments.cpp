#include "backend/service/deployments.h"

#include <algorithm>

#include "backend/base/status.h"
#include "backend/service/deployment_keys.h"
#include "backend/service/run_planning.h"

namespace slipway::service {
namespace {

using domain::DeploymentState;

// http://127.0.0.1:8080 -> 127.0.0.1:8080
std::string address_of(const std::string& url) {
  const size_t begin = url.find("://");
  std::string address = begin == std::string::npos ? url : url.substr(begin + 3);
  if (const size_t slash = address.find('/'); slash != std::string::npos) address.resize(slash);
  return address;
}

std::string reason_of(const store::Deployment& deployment) {
  if (!deployment.error.message.empty()) return deployment.error.message;
  if (!deployment.waiting_reason.empty()) return deployment.waiting_reason;
  return "the deployment is " + std::string(name_of(deployment.state));
}

}  // namespace

DeploymentView Deployments::view(store::Connection& connection, const store::Deployment& deployment) {
  DeploymentView view{deployment, "", ""};
  if (const auto replica = store::latest_attempt_of_deployment(connection, deployment.id)) {
    view.node_id = replica->node_id;
    view.attempt_id = replica->id;
  }
  return view;
}

absl::StatusOr<DeploymentView> Deployments::create(const std::string& name, const std::string& model_version_id,
                                                   const std::string& dtype) {
  std::vector<base::FieldViolation> violations;
  if (!is_served_name(name)) {
    violations.push_back({"name", "'" + name + "' cannot be the name of a deployment",
                          "use letters, digits, '.', '_' and '-', at most 100"});
  }
  const std::vector<std::string> dtypes = {"", "auto", "f32", "bf16", "int8", "int4"};
  if (std::find(dtypes.begin(), dtypes.end(), dtype) == dtypes.end()) {
    violations.push_back({"dtype", "'" + dtype + "' is not a precision", "use auto, f32, bf16, int8 or int4"});
  }
  if (model_version_id.empty()) {
    violations.push_back({"model_version_id", "no model version is given", "give an id, or name@version"});
  }
  if (!violations.empty()) return base::invalid_arguments(violations);
  const auto id = database_.write_returning([&](store::Transaction& transaction) {
    return conductor_.deploy(transaction, {name, model_version_id, dtype, ""}, false);
  });
  if (!id.ok()) return id.status();
  wake_dispatcher_();
  return get(*id);
}

absl::StatusOr<DeploymentView> Deployments::get(const std::string& reference) {
  return database_.read([&](store::Connection& connection) -> absl::StatusOr<DeploymentView> {
    const auto deployment = store::find_deployment_by_reference(connection, reference);
    if (!deployment) return base::not_found("deployment", reference);
    return view(connection, *deployment);
  });
}

absl::StatusOr<store::Page<DeploymentView>> Deployments::list(const store::PageRequest& request) {
  return database_.read([&](store::Connection& connection) -> absl::StatusOr<store::Page<DeploymentView>> {
    const auto page = store::list_deployments(connection, request);
    if (!page.ok()) return page.status();
    store::Page<DeploymentView> views;
    views.next_page_token = page->next_page_token;
    views.total = page->total;
    for (const store::Deployment& deployment : page->rows) views.rows.push_back(view(connection, deployment));
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
    std::vector<ServedDeployment> all;
    for (const store::Deployment& deployment : store::all_deployments(connection)) {
      ServedDeployment served;
      served.id = deployment.id;
      served.name = deployment.name;
      served.served_names = deployment.served_names;
      served.created_at_ms = deployment.created_at_ms;
      switch (deployment.state) {
        case DeploymentState::kReady:
          served.state = ServedDeployment::State::kReady;
          served.address = address_of(deployment.url);
          break;
        case DeploymentState::kQueued:
        case DeploymentState::kStarting:
          served.state = ServedDeployment::State::kStarting;
          break;
        default:
          served.state = ServedDeployment::State::kUnavailable;
          break;
      }
      if (served.state != ServedDeployment::State::kReady) served.reason = reason_of(deployment);
      all.push_back(std::move(served));
    }
    return all;
  });
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
