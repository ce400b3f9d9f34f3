#include "backend/rpc/workflow_adapter.h"

#include "backend/rpc/unary.h"

namespace slipway::rpc {
namespace {

void fill_parameter(const workflows::Parameter& parameter, v1::WorkflowParameter* message) {
  message->set_name(parameter.name);
  message->set_type(std::string(name_of(parameter.type)));
  message->set_label(parameter.label);
  message->set_help(parameter.help);
  message->set_unit(parameter.unit);
  const workflows::Json& value = parameter.default_value;
  // A default that depends on the run is known only from PlanRun.
  const bool is_template = value.is_string() && value.get_ref<const std::string&>().find("${") != std::string::npos;
  if (!value.is_null() && !is_template) message->set_default_json(value.dump());
  message->set_required(parameter.required);
  message->set_advanced(parameter.advanced);
  if (parameter.minimum) message->set_minimum(*parameter.minimum);
  if (parameter.maximum) message->set_maximum(*parameter.maximum);
  for (const workflows::Choice& choice : parameter.choices) {
    auto* added = message->add_choices();
    added->set_value(choice.value);
    added->set_label(choice.label);
    added->set_help(choice.help);
  }
  message->set_step(parameter.step);
  for (const workflows::Condition& condition : parameter.conditions) {
    auto* added = message->add_conditions();
    added->set_parameter(condition.parameter);
    for (const std::string& one : condition.values) added->add_values(one);
  }
}

void fill_workflow(const workflows::Workflow& workflow, v1::Workflow* message) {
  message->set_name(workflow.name);
  message->set_title(workflow.title);
  message->set_description(workflow.description);
  for (const workflows::Parameter& parameter : workflow.parameters)
    fill_parameter(parameter, message->add_parameters());
  for (const workflows::Task& task : workflow.tasks) {
    v1::WorkflowTask* added = message->add_tasks();
    added->set_name(task.name);
    added->set_title(task.title);
    added->set_kind(task.kind);
    for (const std::string& need : task.needs) added->add_needs(need);
  }
  for (const workflows::Step& step : workflow.steps) {
    v1::WorkflowStep* added = message->add_steps();
    added->set_name(step.name);
    added->set_title(step.title);
    added->set_help(step.help);
  }
}

}  // namespace

grpc::ServerUnaryReactor* WorkflowAdapter::ListWorkflows(grpc::CallbackServerContext* context,
                                                         const v1::ListWorkflowsRequest*,
                                                         v1::ListWorkflowsResponse* response) {
  return unary(context, gate_, [=, this]() -> absl::Status {
    for (const workflows::Workflow& workflow : plans_.list()) fill_workflow(workflow, response->add_workflows());
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* WorkflowAdapter::GetWorkflow(grpc::CallbackServerContext* context,
                                                       const v1::GetWorkflowRequest* request, v1::Workflow* response) {
  return unary(context, gate_, [=, this]() -> absl::Status {
    const auto workflow = plans_.get(request->name());
    if (workflow.ok()) fill_workflow(**workflow, response);
    return workflow.status();
  });
}

grpc::ServerUnaryReactor* WorkflowAdapter::PlanRun(grpc::CallbackServerContext* context,
                                                   const v1::PlanRunRequest* request, v1::PlanRunResponse* response) {
  return unary(context, gate_, [=, this]() -> absl::Status {
    const auto preview = plans_.preview(request->workflow(),
                                        {request->parameters().begin(), request->parameters().end()}, request->name());
    if (!preview.ok()) return preview.status();
    for (const base::FieldViolation& violation : preview->violations) {
      v1::FieldViolation* added = response->add_violations();
      added->set_field(violation.field);
      added->set_message(violation.message);
      added->set_advice(violation.advice);
    }
    response->mutable_parameters()->insert(preview->parameters.begin(), preview->parameters.end());
    response->set_command(preview->command);
    for (const service::Consequence& consequence : preview->consequences) {
      auto* added = response->add_consequences();
      added->set_label(consequence.label);
      added->set_value(consequence.value);
      added->set_level(consequence.level);
    }
    return absl::OkStatus();
  });
}

}  // namespace slipway::rpc
