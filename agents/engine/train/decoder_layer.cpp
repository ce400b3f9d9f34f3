#include "agents/engine/train/decoder_layer.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <utility>

#include "agents/engine/train/random.h"
#include "agents/engine/train/tensor_ops.h"

namespace slipway::train {

DecoderLayer::DecoderLayer(const model::Architecture& architecture, at::ScalarType compute_type, LayerNorms norms,
                           AdaptedLinear qkv, AdaptedLinear o, AdaptedLinear gate_up, AdaptedLinear down,
                           uint64_t index)
    : architecture_(architecture),
      type_(compute_type),
      norms_(std::move(norms)),
      qkv_(std::move(qkv)),
      o_(std::move(o)),
      gate_up_(std::move(gate_up)),
      down_(std::move(down)),
      index_(index) {}

void DecoderLayer::refresh(const Parameters& parameters) {
  if (norms_.parameter1) norms_.weight1 = parameters.value(*norms_.parameter1);
  if (norms_.parameter2) norms_.weight2 = parameters.value(*norms_.parameter2);
  for (AdaptedLinear* layer : {&qkv_, &o_, &gate_up_, &down_}) layer->refresh(parameters);
}

uint64_t DecoderLayer::dropout_seed(const BatchContext& context, uint64_t linear) const {
  return context.dropout_seed == 0 ? 0 : mix_seed(context.dropout_seed, "dropout", index_ * 4 + linear);
}

at::Tensor DecoderLayer::attend(const at::Tensor& qkv, const BatchContext& context, LayerMemory* memory) const {
  const int64_t heads = architecture_.num_attention_heads, kv_heads = architecture_.num_key_value_heads;
  const int64_t n = qkv.size(0), d = architecture_.head_dim;
  const at::Tensor split = qkv.view({n, heads + 2 * kv_heads, d});
  rotate(split.narrow(1, 0, heads + kv_heads), context.cosine, context.sine);

  at::Tensor attended = at::empty({n, heads * d}, qkv.options());
  for (size_t i = 0; i + 1 < context.document_starts.size(); ++i) {
    const int64_t begin = context.document_starts[i], length = context.document_starts[i + 1] - begin;
    // [1, heads, length, d] views of the projection.
    const at::Tensor document = split.narrow(0, begin, length).transpose(0, 1).unsqueeze(0);
    DocumentAttention part{document.narrow(1, 0, heads).detach(),
                           document.narrow(1, heads, kv_heads).detach(),
                           document.narrow(1, heads + kv_heads, kv_heads).detach(),
                           {}};
    const bool keep = memory != nullptr;
    c10::AutoGradMode with_gradient(keep);
    if (keep) {
      part.query.requires_grad_();
      part.key.requires_grad_();
      part.value.requires_grad_();
    }
    part.output = at::scaled_dot_product_attention(part.query, part.key, part.value, {}, 0.0, length > 1, std::nullopt,
                                                   heads != kv_heads);
    attended.narrow(0, begin, length).view({length, heads, d}).copy_(part.output.detach().squeeze(0).transpose(0, 1));
    if (keep) memory->documents.push_back(std::move(part));
  }
  return attended;
}

at::Tensor DecoderLayer::attend_backward(const at::Tensor& dattended, const BatchContext& context,
                                         LayerMemory& memory) const {
  const int64_t heads = architecture_.num_attention_heads, kv_heads = architecture_.num_key_value_heads;
  const int64_t n = dattended.size(0), d = architecture_.head_dim;
  at::Tensor dqkv = at::empty({n, (heads + 2 * kv_heads) * d}, dattended.options());
  const at::Tensor split = dqkv.view({n, heads + 2 * kv_heads, d});
  for (size_t i = 0; i + 1 < context.document_starts.size(); ++i) {
    const int64_t begin = context.document_starts[i], length = context.document_starts[i + 1] - begin;
    DocumentAttention& part = memory.documents[i];
    const at::Tensor doutput = dattended.narrow(0, begin, length).view({length, heads, d}).transpose(0, 1).unsqueeze(0);
    part.output.backward(doutput);
    const at::Tensor target = split.narrow(0, begin, length).transpose(0, 1).unsqueeze(0);
    target.narrow(1, 0, heads).copy_(part.query.grad());
    target.narrow(1, heads, kv_heads).copy_(part.key.grad());
    target.narrow(1, heads + kv_heads, kv_heads).copy_(part.value.grad());
    part = {};
  }
  rotate(split.narrow(1, 0, heads + kv_heads), context.cosine, context.sine.neg());
  return dqkv;
}

at::Tensor DecoderLayer::activate(const at::Tensor& gate_up) const {
  const int64_t width = gate_up.size(1) / 2;
  const at::Tensor gate = gate_up.narrow(1, 0, width), up = gate_up.narrow(1, width, width);
  switch (architecture_.activation) {
    case model::Activation::kGelu:
      return at::gelu(gate, "none").mul_(up);
    case model::Activation::kGeluTanh:
      return at::gelu(gate, "tanh").mul_(up);
    case model::Activation::kSilu:
      break;
  }
  return at::silu(gate).mul_(up);
}

at::Tensor DecoderLayer::activate_backward(const at::Tensor& dactivated, const at::Tensor& gate_up) const {
  const int64_t width = gate_up.size(1) / 2;
  const at::Tensor gate = gate_up.narrow(1, 0, width), up = gate_up.narrow(1, width, width);
  at::Tensor gradient = at::empty_like(gate_up);
  const at::Tensor dgate_activated = dactivated * up;
  at::Tensor dgate = gradient.narrow(1, 0, width), dup = gradient.narrow(1, width, width);
  switch (architecture_.activation) {
    case model::Activation::kSilu:
      at::silu_backward_out(dgate, dgate_activated, gate);
      at::silu_out(dup, gate).mul_(dactivated);
      break;
    case model::Activation::kGelu:
    case model::Activation::kGeluTanh: {
      const char* const form = architecture_.activation == model::Activation::kGelu ? "none" : "tanh";
      at::gelu_backward_out(dgate, dgate_activated, gate, form);
      at::gelu_out(dup, gate, form).mul_(dactivated);
      break;
    }
  }
  return gradient;
}

void DecoderLayer::forward(at::Tensor& x, const BatchContext& context, LayerMemory* memory) const {
  LayerMemory scratch;
  LayerMemory& kept = memory != nullptr ? *memory : scratch;
  kept.input = x;
  const at::Tensor normed1 = rms_norm(x, norms_.weight1, architecture_.rms_norm_eps, type_, kept.inverse_rms1);
  const at::Tensor qkv = qkv_.forward(normed1, kept.hidden_qkv, dropout_seed(context, 0));
  kept.attended = attend(qkv, context, memory);
  kept.middle = x + o_.forward(kept.attended, kept.hidden_o, dropout_seed(context, 1));

  const at::Tensor normed2 =
      rms_norm(kept.middle, norms_.weight2, architecture_.rms_norm_eps, type_, kept.inverse_rms2);
  kept.gate_up = gate_up_.forward(normed2, kept.hidden_gate_up, dropout_seed(context, 2));
  x = kept.middle + down_.forward(activate(kept.gate_up), kept.hidden_down, dropout_seed(context, 3));
}

void DecoderLayer::backward(at::Tensor& dx, const BatchContext& context, LayerMemory& memory, bool need_input_gradient,
                            Parameters& parameters) const {
  const auto norm_gradient = [&](const std::optional<size_t>& index) {
    return index ? parameters.gradient(*index) : at::Tensor();
  };
  {
    const at::Tensor ddown = dx.to(type_);
    const at::Tensor dactivated =
        down_.backward(activate(memory.gate_up), memory.hidden_down, ddown, dropout_seed(context, 3), true, parameters);
    const at::Tensor dgate_up = activate_backward(dactivated, memory.gate_up);
    memory.gate_up.reset();
    const at::Tensor normed = rms_norm_again(memory.middle, norms_.weight2, memory.inverse_rms2, type_);
    const at::Tensor dnormed =
        gate_up_.backward(normed, memory.hidden_gate_up, dgate_up, dropout_seed(context, 2), true, parameters);
    rms_norm_backward(dnormed, memory.middle, norms_.weight2, memory.inverse_rms2, dx,
                      norm_gradient(norms_.parameter2));
    memory.middle.reset();
  }
  const at::Tensor dattended =
      o_.backward(memory.attended, memory.hidden_o, dx.to(type_), dropout_seed(context, 1), true, parameters);
  const at::Tensor dqkv = attend_backward(dattended, context, memory);
  const at::Tensor normed = rms_norm_again(memory.input, norms_.weight1, memory.inverse_rms1, type_);
  const at::Tensor dnormed =
      qkv_.backward(normed, memory.hidden_qkv, dqkv, dropout_seed(context, 0), need_input_gradient, parameters);
  if (need_input_gradient) {
    rms_norm_backward(dnormed, memory.input, norms_.weight1, memory.inverse_rms1, dx, norm_gradient(norms_.parameter1));
  }
  memory = {};
}

}  // namespace slipway::train
