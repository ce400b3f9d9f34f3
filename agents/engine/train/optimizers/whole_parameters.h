// Optimizers that look at whole matrices or at blocks of one, over parameters that are shared out among ranks: each
// rank keeps the state of some parameters and computes their updates, from gathered values and gradients. Used by
// trainer.cpp.
#pragma once

#include <memory>

#include "agents/engine/train/decoder/decoder.h"
#include "agents/engine/train/optimizers/optimizer.h"
#include "agents/engine/train/parallel/ranks.h"

namespace slipway::train {

// The optimizer of this rank's part of the decoder's parameters, whichever way they are shared out. Decoder and ranks
// must outlive it.
std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options, Decoder& decoder, Ranks& ranks);

}  // namespace slipway::train
