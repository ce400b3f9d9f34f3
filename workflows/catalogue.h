// All workflows of a folder. Made by main.cpp at start; immutable afterwards, so any thread may read it.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "workflows/workflow.h"

namespace slipway::workflows {

class Catalogue {
 public:
  // Reads every *.yaml of the folder. The error lists what is wrong in all of them.
  static absl::StatusOr<Catalogue> load(const std::filesystem::path& folder);
  explicit Catalogue(std::vector<Workflow> workflows) : workflows_(std::move(workflows)) {}

  const std::vector<Workflow>& workflows() const { return workflows_; }
  // Null when there is none of this name.
  const Workflow* find(const std::string& name) const;

 private:
  std::vector<Workflow> workflows_;  // by name
};

}  // namespace slipway::workflows
