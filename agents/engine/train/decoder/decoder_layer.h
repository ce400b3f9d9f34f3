// One layer of the decoder, forward and backward by hand: what is kept for backward is chosen here, frozen weights get
// no gradient, and documents laid end to end attend only to themselves. Used by decoder.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "agents/engine/model/architecture.h"
#include "agents/engine/train/decoder/adapted_linear.h"
#include "agents/engine/train/decoder/attention.h"
#include "agents/engine/train/decoder/norm.h"
#include "agents/engine/train/decoder/parameters.h"

namespace slipway::train {

// Angles of each token: [n, rotary_dim / 2] f32. Undefined where positions are learned.
struct RotaryTables {
  at::Tensor cosine, sine;
};

// What all layers share in one batch.
struct BatchContext {
  std::vector<int64_t> document_starts;  // and the end
  RotaryTables rotary, local_rotary;     // of layers without and with a window
  uint64_t dropout_seed = 0;             // 0: no dropout
};

// What backward needs of one layer.
struct LayerMemory {
  Workspace* place = nullptr;  // of the largest tensors; null: each has memory of its own
  at::Tensor input, middle;    // residual stream before attention and before the MLP, f32
  NormMemory norm1, norm2, attention_output_norm, mlp_output_norm, query_norm, key_norm;
  at::Tensor before_head_norms;             // queries and keys, where they are normalized
  at::Tensor attention_result, mlp_result;  // f32, where they are normalized
  AttentionMemory attention;
  at::Tensor attended;  // [n, heads · head_dim]
  at::Tensor gate_up;   // [n, 2 · intermediate], or [n, intermediate] without a gate
  at::Tensor hidden_qkv, hidden_o, hidden_gate_up, hidden_down;
};

struct LayerParts {
  Norm norm1, norm2;
  std::optional<Norm> query_norm, key_norm, attention_output_norm, mlp_output_norm;
  AdaptedLinear qkv, o, gate_up, down;
};

class DecoderLayer {
 public:
  DecoderLayer(const model::Architecture& architecture, const Compute& compute, LayerParts parts, int64_t index);

  void refresh(const Parameters& parameters);

  // Frozen weights of the linear layers, for a residence; set_frozen() takes as many, in this order. release() leaves
  // all weights until set_frozen() and refresh().
  std::vector<at::Tensor> frozen() const;
  void set_frozen(const std::vector<at::Tensor>& weights);
  void release();

  // What forward() takes of the memory's place for so many rows.
  int64_t kept_bytes(int64_t rows) const;
  // x [n, hidden] f32, replaced by the layer's output. `memory` is filled when not null.
  void forward(at::Tensor& x, const BatchContext& context, LayerMemory* memory) const;

  // dx: the gradient of the output, replaced by the gradient of the input (left unfinished when that is not needed).
  void backward(at::Tensor& dx, const BatchContext& context, LayerMemory& memory, bool need_input_gradient,
                Parameters& parameters) const;

  // The linear layers, for DoRA's magnitudes.
  std::vector<const AdaptedLinear*> linears() const { return {&parts_.qkv, &parts_.o, &parts_.gate_up, &parts_.down}; }

 private:
  std::vector<Norm*> norms();
  at::Tensor room(const LayerMemory& kept, const at::Tensor& x, int64_t columns, at::ScalarType type) const;
  at::Tensor attend_to(const at::Tensor& qkv, const BatchContext& context, LayerMemory& kept, bool keep) const;
  at::Tensor attend_back(const at::Tensor& dattended, const BatchContext& context, LayerMemory& memory,
                         Parameters& parameters) const;
  void normalize_heads(at::Tensor qkv, LayerMemory& kept) const;
  void normalize_heads_back(at::Tensor dqkv, LayerMemory& memory, Parameters& parameters) const;
  at::Tensor activate(const at::Tensor& gate_up) const;
  at::Tensor activate_back(const at::Tensor& dactivated, const at::Tensor& gate_up) const;
  // residual (f32) + linear(x), through its output norm where there is one, in `sum`.
  at::Tensor add_result(const AdaptedLinear& linear, const std::optional<Norm>& norm, const at::Tensor& x,
                        at::Tensor& hidden, uint64_t dropout_seed, at::Tensor& result, NormMemory& memory,
                        const at::Tensor& residual, at::Tensor sum) const;
  // The gradient of the linear layer's result in the compute type, from that of the residual stream.
  at::Tensor result_gradient(const std::optional<Norm>& norm, const at::Tensor& dx, const at::Tensor& result,
                             const NormMemory& memory, Parameters& parameters) const;
  const RotaryTables& rotary(const BatchContext& context) const {
    return architecture_.is_windowed(index_) ? context.local_rotary : context.rotary;
  }
  uint64_t dropout_seed(const BatchContext& context, uint64_t linear) const;
  int64_t qkv_columns() const { return (attention_.heads + 2 * attention_.kv_heads) * attention_.head_dim; }
  int64_t gate_up_columns() const { return (architecture_.gated_mlp ? 2 : 1) * architecture_.intermediate_size; }

  const model::Architecture& architecture_;  // the decoder's
  Compute compute_;
  LayerParts parts_;
  int64_t index_;
  AttentionOptions attention_;
};

}  // namespace slipway::train
