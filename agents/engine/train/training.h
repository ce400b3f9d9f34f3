// One training job from its checked spec to the published adapter and model. Used by main.cpp and launcher.cpp.
#pragma once

#include "agents/engine/spec/engine_main.h"

namespace slipway::train {

// The body of slipway-train. Goes on from the last whole checkpoint in the workdir. Returns spec::kExitSucceeded, or
// spec::kExitStopped after saving when context.stop was set. Throws base::Error.
int run_training(spec::EngineContext& context);

}  // namespace slipway::train
