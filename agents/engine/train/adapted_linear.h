// A linear layer of the decoder with its LoRA deltas: forward and backward by hand. Several layers with one input (q, k
// and v; gate and up) are one matrix product. Used by decoder_layer.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "agents/engine/train/parameters.h"

namespace slipway::train {

// One of the stacked layers.
struct LinearPart {
  std::string module;  // model.layers.0.self_attn.q_proj
  int64_t out_features = 0;
  bool adapted = false;
  size_t lora_a = 0, lora_b = 0;  // indices into Parameters, when adapted
};

struct LoraOptions {
  int64_t rank = 0;
  double scaling = 0;
  double dropout = 0;
};

class AdaptedLinear {
 public:
  // weight [sum of out_features, in_features] in the compute type, bias of f32 or none. When `trained_weight` is set
  // the weight is a parameter (the parts' weights lie one after the other from that index on).
  struct Trained {
    size_t first_weight = 0;
    std::optional<size_t> first_bias;
  };
  AdaptedLinear(std::vector<LinearPart> parts, at::Tensor weight, at::Tensor bias, LoraOptions lora,
                std::optional<Trained> trained);

  // Brings the compute copies up to date with the masters: at the start and after each optimizer step.
  void refresh(const Parameters& parameters);

  // x [n, in] in the compute type -> [n, out]. `hidden` keeps x·Aᵀ for backward. dropout_seed 0: no dropout.
  at::Tensor forward(const at::Tensor& x, at::Tensor& hidden, uint64_t dropout_seed) const;

  // dy [n, out] -> dx [n, in], or an undefined tensor when need_input_gradient is false. Adds to the gradients.
  at::Tensor backward(const at::Tensor& x, const at::Tensor& hidden, const at::Tensor& dy, uint64_t dropout_seed,
                      bool need_input_gradient, Parameters& parameters) const;

  const std::vector<LinearPart>& parts() const { return parts_; }

 private:
  // x with the elements that part `index` drops in this step set to 0 and the others scaled up.
  at::Tensor dropped(const at::Tensor& x, uint64_t dropout_seed, size_t index) const;

  std::vector<LinearPart> parts_;
  at::Tensor weight_, bias_;
  LoraOptions lora_;
  std::optional<Trained> trained_;
  std::vector<size_t> adapted_;   // indices of adapted parts
  std::vector<int64_t> offsets_;  // first output of each part
  at::Tensor a_;                  // compute copy, all adapted parts' A stacked: [adapted · rank, in]
  std::vector<at::Tensor> b_;     // compute copies, scaled: [out_i, rank]
};

}  // namespace slipway::train
