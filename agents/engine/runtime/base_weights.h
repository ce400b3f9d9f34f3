// The base model's weights as f32, for adapters that need them: from whatever the model was loaded from. Used by
// lora.cpp.
#pragma once

#include <memory>

#include "agents/engine/model/architecture.h"
#include "agents/engine/model/weights.h"

namespace slipway::runtime {

// Under the decoder's names; of a container what its packed weights stand for. Throws base::Error.
std::unique_ptr<const model::Weights> open_base_weights(const model::Architecture& architecture);

}  // namespace slipway::runtime
