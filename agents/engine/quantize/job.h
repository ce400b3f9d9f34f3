// Quantising as a task of a run, by the engine contract: what the agent starts. Called by main.cpp.
#pragma once

#include "agents/engine/spec/engine_main.h"

namespace slipway::quantize {

// Does what the spec asks for, with progress in layers; writes the artifact "model" and quantize.json, which says
// format, method, parameters and bytes. Returns the exit status. Throws base::Error.
int run_job(spec::EngineContext& context);

}  // namespace slipway::quantize
