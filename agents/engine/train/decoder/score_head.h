// The head of a reward model: one number for a document, from the last hidden state, as transformers' sequence
// classifiers with one label have it. Used by decoder.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "agents/engine/train/decoder/parameters.h"

namespace slipway::train {

// One thread. Its parameter belongs to the unit that is open when it is made.
class ScoreHead {
 public:
  // name: the parameter's, which a full model and PEFT's adapter know by different ones.
  ScoreHead(const std::string& name, int64_t width, Parameters& parameters);

  size_t parameter() const { return weight_; }

  // hidden [n, width] in the compute type -> [n] f32 on the CPU.
  at::Tensor forward(const Parameters& parameters, const at::Tensor& hidden) const;
  // slopes [n] f32, d loss / d score -> the gradient of hidden in its type; adds the weight's own.
  at::Tensor backward(const at::Tensor& hidden, const at::Tensor& slopes, Parameters& parameters) const;

 private:
  size_t weight_;
};

}  // namespace slipway::train
