// What the engine's options mean for a model: checked, with defaults filled in, and in the words of its parts. Used by
// engine.cpp, memory_estimate.cpp and serve/.
#pragma once

#include <cstdint>

#include "agents/engine/kernels/kernels.h"
#include "agents/engine/model/architecture.h"
#include "agents/engine/runtime/engine.h"
#include "agents/engine/runtime/scheduler.h"

namespace slipway::runtime {

// The options themselves. Throws base::Error INVALID_SPEC for one that is out of range.
EngineOptions checked(EngineOptions options);

// Positions of the longest sequence. Throws base::Error INVALID_SPEC beyond the model's own limit.
int64_t checked_max_length(const EngineOptions& options, const model::Architecture& architecture);

// Pages of the KV cache, enough for one sequence of max_length.
int64_t cache_pages(const EngineOptions& options, int64_t max_length);

kernels::WeightFormat weight_format(WeightType type);
int weight_bits(WeightType type);  // 32 f32, 16 bf16, 8 int8, 4 int4
kernels::CacheFormat cache_format(const EngineOptions& options);
SchedulerOptions scheduler_options(const EngineOptions& options, const model::Architecture& architecture);

}  // namespace slipway::runtime
