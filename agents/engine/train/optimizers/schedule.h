// The learning rate of each step, as transformers defines its schedules.
#pragma once

#include <cstdint>
#include <string>

namespace slipway::train {

enum class ScheduleType { kConstant, kConstantWithWarmup, kLinear, kCosine, kWarmupStableDecay };

struct ScheduleSettings {
  ScheduleType type = ScheduleType::kCosine;
  int64_t warmup_steps = 0;
  double warmup_ratio = 0;  // of all steps, when warmup_steps is 0
  int64_t decay_steps = 0;  // of warmup-stable-decay; 0: a fifth of all steps
  double min_lr_ratio = 0;  // of warmup-stable-decay
};

// Throws base::Error INVALID_SPEC for an unknown name.
ScheduleType schedule_type(const std::string& name);

// The steps over which the learning rate rises.
int64_t warmup_steps(const ScheduleSettings& settings, int64_t total_steps);

// What the base learning rate is multiplied by in step `step` (counted from 0) of `total_steps`. Formulas:
// transformers/optimization.py, get_{constant,constant_with_warmup,linear,cosine,wsd}_schedule(_with_warmup).
double schedule_factor(const ScheduleSettings& settings, int64_t step, int64_t total_steps);

}  // namespace slipway::train
