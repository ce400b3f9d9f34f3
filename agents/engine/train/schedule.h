// The learning rate of each step, as transformers defines its schedules.
#pragma once

#include <cstdint>
#include <string>

namespace slipway::train {

enum class ScheduleType { kConstant, kConstantWithWarmup, kLinear, kCosine };

// Throws base::Error INVALID_SPEC for an unknown name.
ScheduleType schedule_type(const std::string& name);

// What the base learning rate is multiplied by in step `step` (counted from 0) of `total_steps`. Formulas:
// transformers/optimization.py, get_{constant,constant_with_warmup,linear,cosine}_schedule(_with_warmup).
double schedule_factor(ScheduleType type, int64_t step, int64_t warmup_steps, int64_t total_steps);

}  // namespace slipway::train
