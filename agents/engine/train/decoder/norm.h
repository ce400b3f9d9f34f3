// A norm of the decoder, RMS or LayerNorm, with its gradient. Used by decoder.cpp and decoder_layer.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "agents/engine/model/architecture.h"
#include "agents/engine/train/decoder/compute.h"
#include "agents/engine/train/decoder/parameters.h"

namespace slipway::train {

// What backward needs beside the input.
struct NormMemory {
  at::Tensor inverse_rms;  // of LayerNorm the inverse standard deviation
  at::Tensor mean;         // of LayerNorm
};

class Norm {
 public:
  struct Content {
    at::Tensor weight, bias;                          // f32; bias of LayerNorm alone
    std::optional<size_t> parameter, bias_parameter;  // when they are trained
  };
  Norm() = default;
  Norm(model::NormKind kind, double epsilon, Content content)
      : kind_(kind), epsilon_(epsilon), content_(std::move(content)) {}

  // Brings the copies up to date with the masters.
  void refresh(const Parameters& parameters);
  // Lets go of the masters until then: each is a view of all of its unit's.
  void release();

  // x [n, width] f32 -> the compute type.
  at::Tensor forward(const Compute& compute, const at::Tensor& x, NormMemory& memory) const;
  // The same result again.
  at::Tensor again(const Compute& compute, const at::Tensor& x, const NormMemory& memory) const;
  // dx (f32) += the gradient through the norm; adds to the parameters' gradients.
  void backward(const Compute& compute, const at::Tensor& dy, const at::Tensor& x, const NormMemory& memory,
                at::Tensor& dx, Parameters& parameters) const;

 private:
  model::NormKind kind_ = model::NormKind::kRms;
  double epsilon_ = 1e-5;
  Content content_;
};

}  // namespace slipway::train
