// The results of a finished run, put in their places once serving agrees with training on their logits. Used by
// trainer.cpp.
#pragma once

#include "agents/engine/spec/engine_main.h"
#include "agents/engine/train/prepare.h"
#include "agents/engine/train/reporter.h"

namespace slipway::train {

// Finds out before the training, not after it, that a result could not be written. Throws base::Error.
void check_outputs(const spec::EngineContext& context, const TrainSettings& settings);

// Writes the adapter and the merged model as the settings ask. Throws base::Error.
void publish(const spec::EngineContext& context, const Job& job, Decoder& decoder, const Machine& machine,
             Reporter& reporter);

}  // namespace slipway::train
