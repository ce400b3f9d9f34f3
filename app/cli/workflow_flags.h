// A workflow's parameters as flags: made from what the backend answers, so a new YAML needs no new program.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "slipway/v1/workflow.pb.h"

namespace slipway::cli {

struct RunFlags {
  std::map<std::string, std::string> parameters;  // given ones, as JSON texts
  std::string name;
  std::string idempotency_key;
  bool watch = false;
  bool json = false;
  bool help_wanted = false;
  std::string help;
};

// --max-steps for max_steps.
std::string flag_of(const std::string& parameter);

// Parses `arguments` (those after the workflow's name). Throws Failure (kUsage) for unknown flags and values that are
// not of the parameter's type; bounds and choices are the backend's to check, all at once.
RunFlags parse_run_flags(const v1::Workflow& workflow, const std::vector<std::string>& arguments);

// What `slipway run start WORKFLOW --help` prints.
std::string workflow_help(const v1::Workflow& workflow);

}  // namespace slipway::cli
