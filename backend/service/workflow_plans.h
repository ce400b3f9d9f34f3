// Workflows as clients see them, and the live check of the wizard. Called by the adapter of WorkflowService. Any
// thread.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backend/base/status.h"
#include "backend/service/model_registry.h"
#include "backend/store/database.h"
#include "workflows/catalogue.h"

namespace slipway::service {

struct Consequence {
  std::string label;
  std::string value;
  std::string level;  // ok, warning
};

struct RunPreview {
  std::vector<base::FieldViolation> violations;
  std::map<std::string, std::string> parameters;  // defaults filled in, as JSON texts
  std::string command;                            // slipway run start … that does the same
  std::vector<Consequence> consequences;
};

class WorkflowPlans {
 public:
  WorkflowPlans(store::Database& database, const workflows::Catalogue& catalogue, ModelRegistry& registry)
      : database_(database), catalogue_(catalogue), registry_(registry) {}

  const std::vector<workflows::Workflow>& list() const { return catalogue_.workflows(); }
  absl::StatusOr<const workflows::Workflow*> get(const std::string& name) const;
  absl::StatusOr<RunPreview> preview(const std::string& workflow, const std::map<std::string, std::string>& parameters,
                                     const std::string& name);

 private:
  store::Database& database_;
  const workflows::Catalogue& catalogue_;
  ModelRegistry& registry_;
};

}  // namespace slipway::service
