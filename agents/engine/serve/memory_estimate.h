// How much memory a model will take, from its description alone. Used by serve.cpp for the memory limit.
#pragma once

#include <cstdint>

#include "agents/engine/model/architecture.h"
#include "agents/engine/runtime/engine.h"

namespace slipway::serve {

// The longest sequence in tokens that an engine with these options takes.
int64_t served_length(const model::Architecture& architecture, const runtime::EngineOptions& options);

// Bytes of weights (with the scales of quantised ones) and of the whole cache of keys and values; adapters and work
// buffers, which are small beside them, are not counted.
int64_t estimate_memory(const model::Architecture& architecture, const runtime::EngineOptions& options);

}  // namespace slipway::serve
