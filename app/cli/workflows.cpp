// slipway workflow list|show
#include <CLI/CLI.hpp>
#include <iostream>

#include "app/cli/commands.h"
#include "app/cli/output.h"
#include "app/cli/workflow_flags.h"
#include "slipway/v1/workflow.grpc.pb.h"

namespace slipway::cli {
namespace {

using Stub = v1::WorkflowService::Stub;

Exit list_workflows(Context& context) {
  auto& client = context.client();
  const auto stub = v1::WorkflowService::NewStub(client.channel());
  const auto response = client.call(*stub, &Stub::ListWorkflows, v1::ListWorkflowsRequest());
  if (context.json) {
    std::cout << to_json(response) << '\n';
    return Exit::kOk;
  }
  Table table({"NAME", "TITLE", "TASKS", "DESCRIPTION"}, {2});
  for (const auto& workflow : response.workflows()) {
    std::string description = workflow.description();
    if (description.size() > 80) description = description.substr(0, description.rfind(' ', 77)) + " …";
    table.add({workflow.name(), workflow.title(), std::to_string(workflow.tasks_size()), description});
  }
  table.print(std::cout, "No workflows. They are YAML files in slipwayd's --workflows folder.");
  return Exit::kOk;
}

Exit show_workflow(Context& context, const std::string& name) {
  auto& client = context.client();
  const auto stub = v1::WorkflowService::NewStub(client.channel());
  v1::GetWorkflowRequest request;
  request.set_name(name);
  const auto workflow = client.call(*stub, &Stub::GetWorkflow, request);
  if (context.json) {
    std::cout << to_json(workflow) << '\n';
    return Exit::kOk;
  }
  std::cout << workflow_help(workflow) << "\nTASKS\n";
  Table tasks({"NAME", "TITLE", "KIND", "NEEDS"});
  for (const auto& task : workflow.tasks()) {
    std::string needs;
    for (const auto& need : task.needs()) needs += (needs.empty() ? "" : ", ") + need;
    tasks.add({task.name(), task.title(), task.kind(), needs});
  }
  tasks.print(std::cout, "No tasks.");
  return Exit::kOk;
}

}  // namespace

void add_workflows(CLI::App& app, Context& context) {
  auto* workflow = app.add_subcommand("workflow", "Guided workflows");
  workflow->require_subcommand(1);
  auto* list = workflow->add_subcommand("list", "List workflows");
  list->callback([&context] { context.action = [&context] { return list_workflows(context); }; });
  const auto name = std::make_shared<std::string>();
  auto* show = workflow->add_subcommand("show", "Show a workflow's parameters and tasks");
  show->add_option("WORKFLOW", *name, "Name")->required();
  show->callback([&context, name] { context.action = [&context, name] { return show_workflow(context, *name); }; });
}

}  // namespace slipway::cli
