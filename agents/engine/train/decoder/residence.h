// Where the weights of a decoder are when they are not all here. Used by decoder.cpp; see parallel/sharding.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "agents/engine/train/decoder/parameters.h"

namespace slipway::train {

enum class Pass { kForward, kBackward };

// Units are those of Parameters. One thread.
class Residence {
 public:
  virtual ~Residence() = default;

  // While the decoder is made: takes the frozen weights of a unit, and afterwards the masters.
  virtual void adopt(size_t unit, const std::vector<at::Tensor>& frozen) = 0;
  virtual void share_out(Parameters& parameters, size_t lowest_trained_unit) = 0;
  virtual void fill(const Parameters& parameters, size_t index, const at::Tensor& value) = 0;

  // Brings the unit's masters, and in backward a place for their gradients, into `parameters`; returns its frozen
  // weights as they were adopted. May begin to fetch the units that come next.
  virtual const std::vector<at::Tensor>& enter(Parameters& parameters, size_t unit, Pass pass) = 0;
  // The unit is not needed for now; in backward its gradients are done. Unit 0 is the last of each pass.
  virtual void leave(Parameters& parameters, size_t unit, Pass pass) = 0;
};

}  // namespace slipway::train
