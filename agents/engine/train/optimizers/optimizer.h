// The optimizers: one step over all parameters, and the state that a checkpoint keeps. Used by trainer.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
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

class Decoder;
class Ranks;

// A state tensor of a checkpoint, flat; on the first rank, elsewhere undefined.
using ReadState = std::function<at::Tensor(const std::string& name, int64_t elements, at::ScalarType type)>;

// One thread.
class Optimizer {
 public:
  virtual ~Optimizer() = default;

  // Changes the masters by the gradients; `step` counts from 1. A parameter's own lr_scale and decayed apply.
  virtual void step(Parameters& parameters, double learning_rate, int64_t step) = 0;

  // What a resumed run needs, as tensors of this object that may be filled in place; of this rank.
  virtual std::vector<StateTensor> state() = 0;

  // The same of all ranks, which does not depend on their number: on the first rank, elsewhere nothing. And back. All
  // ranks call them.
  virtual std::vector<StateTensor> whole_state(Ranks& ranks, const Decoder& decoder);
  virtual void take_whole_state(const ReadState& read, Ranks& ranks, const Decoder& decoder);
};

// AdamW: torch.optim.AdamW. 8 bits: the same with both moments in blocks of 256 of bitsandbytes' dynamic 8-bit numbers
// (Dettmers et al. 2022), for parameters of 4,096 elements and more. Adafactor: transformers.Adafactor without relative
// step and parameter scale. Lion: Chen et al. 2023. Muon: torch.optim.Muon with momentum 0.95 and adjust_lr_fn
// match_rms_adamw for the matrices, AdamW for embeddings, norms and biases.
std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options, const Parameters& parameters);

}  // namespace slipway::train
