// One layer of the decoder, forward and backward by hand: what is kept for backward is chosen here, frozen weights get
// no gradient, and documents laid end to end attend only to themselves. Used by decoder.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "agents/engine/model/architecture.h"
#include "agents/engine/train/adapted_linear.h"
#include "agents/engine/train/parameters.h"

namespace slipway::train {

// What all layers share in one batch.
struct BatchContext {
  std::vector<int64_t> document_starts;  // and the end
  at::Tensor cosine, sine;               // [n, 1, head_dim / 2] f32
  uint64_t dropout_seed = 0;             // 0: no dropout
};

// One document's attention, kept with its graph: the one place where autograd is used, so that the fused kernel and its
// gradient are whatever the device offers.
struct DocumentAttention {
  at::Tensor query, key, value, output;
};

// What backward needs of one layer.
struct LayerMemory {
  at::Tensor input, middle;  // residual stream before attention and before the MLP, f32
  at::Tensor inverse_rms1, inverse_rms2;
  std::vector<DocumentAttention> documents;
  at::Tensor attended;  // [n, heads · head_dim]
  at::Tensor gate_up;   // [n, 2 · intermediate]
  at::Tensor hidden_qkv, hidden_o, hidden_gate_up, hidden_down;
};

struct LayerNorms {
  at::Tensor weight1, weight2;                   // f32
  std::optional<size_t> parameter1, parameter2;  // when trained
};

class DecoderLayer {
 public:
  DecoderLayer(const model::Architecture& architecture, at::ScalarType compute_type, LayerNorms norms,
               AdaptedLinear qkv, AdaptedLinear o, AdaptedLinear gate_up, AdaptedLinear down, uint64_t index);

  void refresh(const Parameters& parameters);

  // x [n, hidden] f32, replaced by the layer's output. `memory` is filled when not null.
  void forward(at::Tensor& x, const BatchContext& context, LayerMemory* memory) const;

  // dx: the gradient of the output, replaced by the gradient of the input (left unfinished when that is not needed).
  void backward(at::Tensor& dx, const BatchContext& context, LayerMemory& memory, bool need_input_gradient,
                Parameters& parameters) const;

 private:
  at::Tensor attend(const at::Tensor& qkv, const BatchContext& context, LayerMemory* memory) const;
  at::Tensor attend_backward(const at::Tensor& dattended, const BatchContext& context, LayerMemory& memory) const;
  at::Tensor activate(const at::Tensor& gate_up) const;
  at::Tensor activate_backward(const at::Tensor& dactivated, const at::Tensor& gate_up) const;
  uint64_t dropout_seed(const BatchContext& context, uint64_t linear) const;

  const model::Architecture architecture_;
  at::ScalarType type_;
  LayerNorms norms_;
  AdaptedLinear qkv_, o_, gate_up_, down_;
  uint64_t index_;
};

}  // namespace slipway::train
