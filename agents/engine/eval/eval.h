// slipway-eval: runs the tasks of a spec on one model and writes their results. Called by main.cpp.
#pragma once

namespace slipway::spec {
struct EngineContext;
}

namespace slipway::eval {

// Returns kExitSucceeded or kExitStopped. Throws base::Error.
int run_eval(spec::EngineContext& context);

}  // namespace slipway::eval
