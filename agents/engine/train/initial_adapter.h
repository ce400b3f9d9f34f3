// What an adapter is before the first step: the layers that get one, and what an adapter to start from brings. Used by
// prepare.cpp.
#pragma once

#include "agents/engine/train/prepare.h"

namespace slipway::train {

// Puts the names that the model's files have in the place of method.target_modules. Throws base::Error INVALID_SPEC.
void name_target_modules(Job& job);

// Reads method.init_adapter when there is one; its rank, scale and layers take the place of the spec's. Throws what
// model::load_adapter throws, and INVALID_MODEL for layers that the model does not have.
void adopt_initial_adapter(const spec::EngineContext& context, const Warn& warn, Job& job);

}  // namespace slipway::train
