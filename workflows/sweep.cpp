#include "workflows/sweep.h"

#include <cmath>
#include <random>
#include <set>

#include "backend/base/status.h"

namespace slipway::workflows {
namespace {

using Values = std::map<std::string, std::string>;

std::vector<base::FieldViolation> check_axes(const Workflow& workflow, const std::vector<SweepAxis>& axes,
                                             bool random) {
  std::vector<base::FieldViolation> violations;
  std::set<std::string> seen;
  if (axes.empty()) violations.push_back({"axes", "nothing varies", "give at least one parameter with its values"});
  for (size_t i = 0; i < axes.size(); ++i) {
    const SweepAxis& axis = axes[i];
    const std::string field = "axes[" + std::to_string(i) + "]";
    const Parameter* parameter = workflow.find_parameter(axis.parameter);
    const auto wrong = [&](const std::string& what, const std::string& advice) {
      violations.push_back({field, what, advice});
    };
    if (parameter == nullptr) {
      wrong("'" + axis.parameter + "' is no parameter of " + workflow.name, "choose one of the workflow's parameters");
      continue;
    }
    if (!seen.insert(axis.parameter).second) wrong(axis.parameter + " is given twice", "put its values together");
    const bool range = axis.minimum || axis.maximum;
    if (!range) {
      if (axis.values.empty()) wrong(axis.parameter + " has no values", "give at least one");
      continue;
    }
    const bool number = parameter->type == ParameterType::kInteger || parameter->type == ParameterType::kNumber;
    if (!random || !number || !axis.values.empty()) {
      wrong(axis.parameter + " has a range", "give its values; a range is for numbers that are drawn at random");
    } else if (!axis.minimum || !axis.maximum || !(*axis.minimum < *axis.maximum) ||
               (axis.logarithmic && *axis.minimum <= 0)) {
      wrong("the range of " + axis.parameter + " is empty or open",
            axis.logarithmic ? "give two numbers above 0, the smaller first" : "give two numbers, the smaller first");
    }
  }
  return violations;
}

std::vector<Values> grid(const std::vector<SweepAxis>& axes, size_t count) {
  std::vector<Values> runs(count);
  size_t repeats = count;
  for (const SweepAxis& axis : axes) {
    repeats /= axis.values.size();
    for (size_t i = 0; i < count; ++i) runs[i][axis.parameter] = axis.values[i / repeats % axis.values.size()];
  }
  return runs;
}

// Own arithmetic on the generator's bits: the standard's distributions differ between libraries.
double uniform(std::mt19937_64& random) { return static_cast<double>(random() >> 11) * 0x1.0p-53; }

std::string draw(const SweepAxis& axis, bool integer, std::mt19937_64& random) {
  const double share = uniform(random);
  if (!axis.minimum) return axis.values[static_cast<size_t>(share * static_cast<double>(axis.values.size()))];
  const double low = *axis.minimum, high = *axis.maximum;
  const double value = axis.logarithmic ? std::exp(std::log(low) + share * (std::log(high) - std::log(low)))
                                        : low + share * (high - low);
  // Three digits are enough to tell runs apart, and can be read.
  const double scale = std::pow(10.0, 2 - std::floor(std::log10(std::abs(value) > 0 ? std::abs(value) : 1.0)));
  const double rounded = integer ? std::round(value) : std::round(value * scale) / scale;
  return integer ? std::to_string(static_cast<int64_t>(rounded)) : Json(rounded).dump();
}

}  // namespace

absl::StatusOr<std::vector<Values>> expand_sweep(const Workflow& workflow, const std::vector<SweepAxis>& axes,
                                                 int32_t random_runs, uint64_t seed) {
  const bool random = random_runs > 0;
  auto violations = check_axes(workflow, axes, random);
  size_t count = random ? static_cast<size_t>(random_runs) : 1;
  if (violations.empty() && !random) {
    for (const SweepAxis& axis : axes) count = std::min(count * axis.values.size(), kMaxSweepRuns + 1);
  }
  if (count > kMaxSweepRuns || random_runs < 0) {
    violations.push_back({random_runs != 0 ? "random_runs" : "axes", "a sweep has 1 to 500 runs",
                          "take fewer values, or draw at random"});
  }
  if (!violations.empty()) return base::invalid_arguments(violations);
  if (!random) return grid(axes, count);
  std::mt19937_64 generator(seed);
  std::vector<Values> runs(count);
  for (Values& run : runs) {
    for (const SweepAxis& axis : axes) {
      const bool integer = workflow.find_parameter(axis.parameter)->type == ParameterType::kInteger;
      run[axis.parameter] = draw(axis, integer, generator);
    }
  }
  return runs;
}

}  // namespace slipway::workflows
