// How much memory an engine will take, from its model's description alone. Used by serve/ for the memory limit.
#pragma once

#include <cstdint>

#include "agents/engine/model/architecture.h"
#include "agents/engine/runtime/engine.h"

namespace slipway::runtime {

// Bytes of the weights as the kernels read them, and of the whole cache of keys and values. Adapters and work buffers,
// which are small beside them, are not counted. Throws base::Error INVALID_SPEC for a max_model_len beyond the model's
// own.
int64_t estimate_memory(const model::Architecture& architecture, const EngineOptions& options);

}  // namespace slipway::runtime
