#include "agents/engine/train/optimizers/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "backend/base/error.h"

namespace slipway::train {

namespace {

double ratio(int64_t part, int64_t whole) {
  return static_cast<double>(part) / static_cast<double>(std::max<int64_t>(1, whole));
}

// From 1 to 0 along half a cosine.
double half_cosine(double progress) { return 0.5 * (1.0 + std::cos(std::numbers::pi * progress)); }

}  // namespace

ScheduleType schedule_type(const std::string& name) {
  if (name == "constant") return ScheduleType::kConstant;
  if (name == "constant_with_warmup") return ScheduleType::kConstantWithWarmup;
  if (name == "linear") return ScheduleType::kLinear;
  if (name == "cosine") return ScheduleType::kCosine;
  if (name == "warmup_stable_decay") return ScheduleType::kWarmupStableDecay;
  throw base::Error(base::kInvalidSpec, "training.lr_scheduler_type: unknown schedule '" + name + "'",
                    "use constant, constant_with_warmup, linear, cosine or warmup_stable_decay");
}

int64_t warmup_steps(const ScheduleSettings& settings, int64_t total_steps) {
  if (settings.warmup_steps > 0) return settings.warmup_steps;
  return static_cast<int64_t>(std::ceil(settings.warmup_ratio * static_cast<double>(total_steps)));
}

double schedule_factor(const ScheduleSettings& settings, int64_t step, int64_t total_steps) {
  if (settings.type == ScheduleType::kConstant) return 1.0;
  const int64_t warmup = warmup_steps(settings, total_steps);
  const double lowest = settings.type == ScheduleType::kWarmupStableDecay ? settings.min_lr_ratio : 0.0;
  if (step < warmup) return ratio(step, warmup) * (1.0 - lowest) + lowest;
  switch (settings.type) {
    case ScheduleType::kLinear:
      return std::max(0.0, ratio(total_steps - step, total_steps - warmup));
    case ScheduleType::kCosine:
      return std::max(0.0, half_cosine(ratio(step - warmup, total_steps - warmup)));
    case ScheduleType::kWarmupStableDecay: {
      const int64_t decay = settings.decay_steps > 0 ? settings.decay_steps : (total_steps + 4) / 5;
      const int64_t begin = total_steps - decay;
      if (step < begin) return 1.0;
      if (step >= total_steps) return lowest;
      return half_cosine(ratio(step - begin, decay)) * (1.0 - lowest) + lowest;
    }
    default:
      return 1.0;
  }
}

}  // namespace slipway::train
