// Sweeps: the parameter sets of several runs that differ in some parameters. Pure; used by Runs.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "workflows/workflow.h"

namespace slipway::workflows {

struct SweepAxis {
  std::string parameter;
  std::vector<std::string> values;  // JSON texts
  // At random, instead of values: between these two, evenly, or evenly by order of magnitude.
  std::optional<double> minimum, maximum;
  bool logarithmic = false;
};

inline constexpr size_t kMaxSweepRuns = 500;

// What each run's parameters add to the common ones. random_runs 0: every combination of the axes' values, the last
// axis changing fastest. More: so many draws, each axis by itself; the same seed draws the same. INVALID_ARGUMENT with
// the axes' fields: an unknown or repeated parameter, no values, a range without its ends, more than 500 runs.
absl::StatusOr<std::vector<std::map<std::string, std::string>>> expand_sweep(const Workflow& workflow,
                                                                             const std::vector<SweepAxis>& axes,
                                                                             int32_t random_runs, uint64_t seed);

}  // namespace slipway::workflows
