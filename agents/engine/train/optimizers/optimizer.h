// The optimizers: one step over all parameters, and the state that a checkpoint keeps. Used by trainer.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "agents/engine/train/decoder/parameters.h"
#include "agents/engine/train/settings.h"

namespace slipway::train {

struct OptimizerOptions {
  OptimizerType type = OptimizerType::kAdamW;
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0;
};

// A tensor of the state: f32, or uint8 where the state is kept in 8 bits.
struct StateTensor {
  std::string name;
  at::Tensor tensor;
};

// One thread.
class Optimizer {
 public:
  virtual ~Optimizer() = default;

  // Changes the masters by the gradients; `step` counts from 1. A parameter's own lr_scale and decayed apply.
  virtual void step(Parameters& parameters, double learning_rate, int64_t step) = 0;

  // What a resumed run needs, as tensors of this object that may be filled in place.
  virtual std::vector<StateTensor> state() = 0;
};

// AdamW: torch.optim.AdamW. 8 bits: the same with both moments in blocks of 256 of bitsandbytes' dynamic 8-bit numbers
// (Dettmers et al. 2022), for parameters of 4,096 elements and more. Adafactor: transformers.Adafactor without relative
// step and parameter scale. Lion: Chen et al. 2023. Muon: torch.optim.Muon with momentum 0.95 and adjust_lr_fn
// match_rms_adamw for the matrices, AdamW for embeddings, norms and biases.
std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options, const Parameters& parameters);

}  // namespace slipway::train
