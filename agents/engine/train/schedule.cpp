#include "agents/engine/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "backend/base/error.h"

namespace slipway::train {

ScheduleType schedule_type(const std::string& name) {
  if (name == "constant") return ScheduleType::kConstant;
  if (name == "constant_with_warmup") return ScheduleType::kConstantWithWarmup;
  if (name == "linear") return ScheduleType::kLinear;
  if (name == "cosine") return ScheduleType::kCosine;
  throw base::Error(base::kInvalidSpec, "training.lr_scheduler_type: unknown schedule '" + name + "'",
                    "use constant, constant_with_warmup, linear or cosine");
}

double schedule_factor(ScheduleType type, int64_t step, int64_t warmup_steps, int64_t total_steps) {
  if (type == ScheduleType::kConstant) return 1.0;
  if (step < warmup_steps) return static_cast<double>(step) / static_cast<double>(std::max<int64_t>(1, warmup_steps));
  if (type == ScheduleType::kConstantWithWarmup) return 1.0;
  const double decay_steps = static_cast<double>(std::max<int64_t>(1, total_steps - warmup_steps));
  if (type == ScheduleType::kLinear) return std::max(0.0, static_cast<double>(total_steps - step) / decay_steps);
  const double progress = static_cast<double>(step - warmup_steps) / decay_steps;
  return std::max(0.0, 0.5 * (1.0 + std::cos(std::numbers::pi * progress)));
}

}  // namespace slipway::train
