// Checks what a person typed for a workflow, against the workflow and the registry. Used by Runs and Workflows.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "backend/service/model_registry.h"
#include "workflows/plan.h"

namespace slipway::service {

struct PlannedRun {
  workflows::CheckedParameters checked;
  std::vector<workflows::Task> tasks;  // empty when there are violations
  // The model and dataset versions it takes in.
  std::vector<ModelVersionFacts> models;
  std::vector<DatasetVersionFacts> datasets;
};

PlannedRun plan_run(const workflows::Workflow& workflow, const std::map<std::string, std::string>& parameters,
                    const std::string& name, ModelRegistry& registry, store::Connection& connection);

// Letters, digits, '.', '_' and '-', at most 100, beginning with a letter or digit.
bool is_served_name(const std::string& name);

}  // namespace slipway::service
