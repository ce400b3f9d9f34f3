#include "agents/engine/train/decoder/decoder_layer.h"

#include <ATen/ATen.h>

#include <utility>

#include "agents/engine/train/data/random.h"
#include "agents/engine/train/decoder/tensor_ops.h"

namespace slipway::train {

DecoderLayer::DecoderLayer(const model::Architecture& architecture, const Compute& compute, LayerParts parts,
                           int64_t index)
    : architecture_(architecture), compute_(compute), parts_(std::move(parts)), index_(index) {
  attention_ = {architecture.num_attention_heads,
                architecture.num_key_value_heads,
                architecture.head_dim,
                architecture.attention_scale,
                architecture.attention_softcap,
                architecture.is_windowed(index) ? architecture.sliding_window : 0};
}

std::vector<Norm*> DecoderLayer::norms() {
  std::vector<Norm*> all = {&parts_.norm1, &parts_.norm2};
  for (std::optional<Norm>* norm :
       {&parts_.query_norm, &parts_.key_norm, &parts_.attention_output_norm, &parts_.mlp_output_norm}) {
    if (*norm) all.push_back(&**norm);
  }
  return all;
}

void DecoderLayer::refresh(const Parameters& parameters) {
  for (Norm* norm : norms()) norm->refresh(parameters);
  for (AdaptedLinear* linear : {&parts_.qkv, &parts_.o, &parts_.gate_up, &parts_.down}) linear->refresh(parameters);
}

std::vector<at::Tensor> DecoderLayer::frozen() const {
  std::vector<at::Tensor> weights;
  for (const AdaptedLinear* linear : linears()) {
    if (const at::Tensor rows = linear->frozen_rows(); rows.defined()) weights.push_back(rows);
  }
  return weights;
}

void DecoderLayer::set_frozen(const std::vector<at::Tensor>& weights) {
  if (weights.empty()) return;
  size_t next = 0;
  for (AdaptedLinear* linear : {&parts_.qkv, &parts_.o, &parts_.gate_up, &parts_.down}) {
    linear->set_frozen_rows(weights[next++]);
  }
}

void DecoderLayer::release() {
  for (Norm* norm : norms()) norm->release();
  for (AdaptedLinear* linear : {&parts_.qkv, &parts_.o, &parts_.gate_up, &parts_.down}) linear->release();
}

uint64_t DecoderLayer::dropout_seed(const BatchContext& context, uint64_t linear) const {
  if (context.dropout_seed == 0) return 0;
  return mix_seed(context.dropout_seed, "dropout", static_cast<uint64_t>(index_) * 4 + linear);
}

// Queries and keys, each head through its norm, in place.
void DecoderLayer::normalize_heads(at::Tensor qkv, LayerMemory& kept) const {
  const int64_t n = qkv.size(0), d = attention_.head_dim, heads = attention_.heads, kv_heads = attention_.kv_heads;
  kept.before_head_norms = qkv.narrow(1, 0, (heads + kv_heads) * d).to(at::kFloat).contiguous();
  const auto part = [&](const Norm& norm, int64_t first, int64_t count, NormMemory& memory) {
    const at::Tensor x = kept.before_head_norms.narrow(1, first * d, count * d).contiguous().view({n * count, d});
    qkv.narrow(1, first * d, count * d).copy_(norm.forward(compute_, x, memory).view({n, count * d}));
  };
  part(*parts_.query_norm, 0, heads, kept.query_norm);
  part(*parts_.key_norm, heads, kv_heads, kept.key_norm);
}

void DecoderLayer::normalize_heads_back(at::Tensor dqkv, LayerMemory& memory, Parameters& parameters) const {
  const int64_t n = dqkv.size(0), d = attention_.head_dim, heads = attention_.heads, kv_heads = attention_.kv_heads;
  const auto part = [&](const Norm& norm, int64_t first, int64_t count, const NormMemory& kept) {
    const at::Tensor x = memory.before_head_norms.narrow(1, first * d, count * d).contiguous().view({n * count, d});
    const at::Tensor dy = dqkv.narrow(1, first * d, count * d).contiguous().view({n * count, d});
    at::Tensor dx = at::zeros_like(x);
    norm.backward(compute_, dy, x, kept, dx, parameters);
    dqkv.narrow(1, first * d, count * d).copy_(dx.view({n, count * d}));
  };
  part(*parts_.query_norm, 0, heads, memory.query_norm);
  part(*parts_.key_norm, heads, kv_heads, memory.key_norm);
  memory.before_head_norms.reset();
}

int64_t DecoderLayer::kept_bytes(int64_t rows) const {
  constexpr int64_t kPadding = 5 * 64;
  const int64_t typed = qkv_columns() + attention_.heads * attention_.head_dim + gate_up_columns();
  const int64_t row = typed * static_cast<int64_t>(c10::elementSize(compute_.type)) +
                      2 * architecture_.hidden_size * static_cast<int64_t>(sizeof(float));
  return rows * row + kPadding;
}

at::Tensor DecoderLayer::room(const LayerMemory& kept, const at::Tensor& x, int64_t columns,
                              at::ScalarType type) const {
  if (kept.place == nullptr) return at::empty({x.size(0), columns}, x.options().dtype(type));
  return kept.place->take(x.size(0) * columns, type).view({x.size(0), columns});
}

at::Tensor DecoderLayer::attend_to(const at::Tensor& qkv, const BatchContext& context, LayerMemory& kept,
                                   bool keep) const {
  if (parts_.query_norm) normalize_heads(qkv, kept);
  if (const RotaryTables& tables = rotary(context); tables.cosine.defined()) {
    rotate(compute_, qkv.view({qkv.size(0), -1, attention_.head_dim}), attention_.heads + attention_.kv_heads,
           tables.cosine, tables.sine, false);
  }
  return attend(compute_, attention_, qkv, context.document_starts, keep ? &kept.attention : nullptr,
                room(kept, qkv, attention_.heads * attention_.head_dim, compute_.type));
}

at::Tensor DecoderLayer::attend_back(const at::Tensor& dattended, const BatchContext& context, LayerMemory& memory,
                                     Parameters& parameters) const {
  const at::Tensor dqkv = attend_backward(compute_, attention_, dattended, context.document_starts, memory.attention);
  if (const RotaryTables& tables = rotary(context); tables.cosine.defined()) {
    rotate(compute_, dqkv.view({dqkv.size(0), -1, attention_.head_dim}), attention_.heads + attention_.kv_heads,
           tables.cosine, tables.sine, true);
  }
  if (parts_.query_norm) normalize_heads_back(dqkv, memory, parameters);
  return dqkv;
}

at::Tensor DecoderLayer::activate(const at::Tensor& gate_up) const {
  if (architecture_.gated_mlp) return gated(compute_, architecture_.activation, gate_up);
  return activated(architecture_.activation, gate_up);
}

at::Tensor DecoderLayer::activate_back(const at::Tensor& dactivated, const at::Tensor& gate_up) const {
  if (architecture_.gated_mlp) return gated_backward(compute_, architecture_.activation, dactivated, gate_up);
  return activated_backward(architecture_.activation, dactivated, gate_up);
}

at::Tensor DecoderLayer::add_result(const AdaptedLinear& linear, const std::optional<Norm>& norm, const at::Tensor& x,
                                    at::Tensor& hidden, uint64_t dropout_seed, at::Tensor& result, NormMemory& memory,
                                    const at::Tensor& residual, at::Tensor sum) const {
  if (!norm) {
    linear.add_forward(x, hidden, dropout_seed, residual, sum);
    return sum;
  }
  result = at::empty_like(residual);
  linear.add_forward(x, hidden, dropout_seed, at::zeros_like(residual), result);
  return at::add_out(sum, residual, norm->forward(compute_, result, memory));
}

at::Tensor DecoderLayer::result_gradient(const std::optional<Norm>& norm, const at::Tensor& dx,
                                         const at::Tensor& result, const NormMemory& memory,
                                         Parameters& parameters) const {
  const at::Tensor typed = narrowed(compute_, dx);
  if (!norm) return typed;
  at::Tensor dresult = at::zeros_like(result);
  norm->backward(compute_, typed, result, memory, dresult, parameters);
  return narrowed(compute_, dresult);
}

void DecoderLayer::forward(at::Tensor& x, const BatchContext& context, LayerMemory* memory) const {
  LayerMemory scratch;
  LayerMemory& kept = memory != nullptr ? *memory : scratch;
  kept.input = x;
  const auto stream = [&] { return room(kept, x, x.size(1), at::kFloat); };
  // What is not kept goes as soon as it can: the next layer's takes its place.
  at::Tensor qkv = parts_.qkv.forward(parts_.norm1.forward(compute_, x, kept.norm1), kept.hidden_qkv,
                                      dropout_seed(context, 0), room(kept, x, qkv_columns(), compute_.type));
  kept.attended = attend_to(qkv, context, kept, memory != nullptr);
  qkv.reset();
  const at::Tensor after =
      add_result(parts_.o, parts_.attention_output_norm, kept.attended, kept.hidden_o, dropout_seed(context, 1),
                 kept.attention_result, kept.attention_output_norm, x, stream());
  kept.middle = architecture_.parallel_residual ? x : after;

  kept.gate_up = parts_.gate_up.forward(parts_.norm2.forward(compute_, kept.middle, kept.norm2), kept.hidden_gate_up,
                                        dropout_seed(context, 2), room(kept, x, gate_up_columns(), compute_.type));
  x = add_result(parts_.down, parts_.mlp_output_norm, activate(kept.gate_up), kept.hidden_down,
                 dropout_seed(context, 3), kept.mlp_result, kept.mlp_output_norm, after, stream());
}

void DecoderLayer::backward(at::Tensor& dx, const BatchContext& context, LayerMemory& memory, bool need_input_gradient,
                            Parameters& parameters) const {
  // With a parallel residual both branches begin at the input, and each takes the output's gradient as it came.
  const bool parallel = architecture_.parallel_residual;
  const at::Tensor arrived = parallel ? dx.clone() : dx;
  {
    const at::Tensor ddown =
        result_gradient(parts_.mlp_output_norm, dx, memory.mlp_result, memory.mlp_output_norm, parameters);
    const at::Tensor dactivated = parts_.down.backward(activate(memory.gate_up), memory.hidden_down, ddown,
                                                       dropout_seed(context, 3), true, parameters);
    const at::Tensor dgate_up = activate_back(dactivated, memory.gate_up);
    memory.gate_up.reset();
    const at::Tensor normed = parts_.norm2.again(compute_, memory.middle, memory.norm2);
    const at::Tensor dnormed =
        parts_.gate_up.backward(normed, memory.hidden_gate_up, dgate_up, dropout_seed(context, 2), true, parameters);
    parts_.norm2.backward(compute_, dnormed, memory.middle, memory.norm2, dx, parameters);
    memory.middle.reset();
  }
  const at::Tensor dresult = result_gradient(parts_.attention_output_norm, parallel ? arrived : dx,
                                             memory.attention_result, memory.attention_output_norm, parameters);
  const at::Tensor dattended =
      parts_.o.backward(memory.attended, memory.hidden_o, dresult, dropout_seed(context, 1), true, parameters);
  const at::Tensor dqkv = attend_back(dattended, context, memory, parameters);
  const at::Tensor normed = parts_.norm1.again(compute_, memory.input, memory.norm1);
  // Norms are trained where the linear layers are, and need the gradient of what they give.
  const at::Tensor dnormed =
      parts_.qkv.backward(normed, memory.hidden_qkv, dqkv, dropout_seed(context, 0), need_input_gradient, parameters);
  if (need_input_gradient) parts_.norm1.backward(compute_, dnormed, memory.input, memory.norm1, dx, parameters);
  memory = {};
}

}  // namespace slipway::train
