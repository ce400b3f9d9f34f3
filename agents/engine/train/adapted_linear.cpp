#include "agents/engine/train/adapted_linear.h"

#include <ATen/ATen.h>

#include <utility>

#include "agents/engine/train/tensor_ops.h"

namespace slipway::train {

AdaptedLinear::AdaptedLinear(std::vector<LinearPart> parts, at::Tensor weight, at::Tensor bias, LoraOptions lora,
                             std::optional<Trained> trained)
    : parts_(std::move(parts)), weight_(std::move(weight)), bias_(std::move(bias)), lora_(lora), trained_(trained) {
  int64_t offset = 0;
  for (size_t i = 0; i < parts_.size(); ++i) {
    offsets_.push_back(offset);
    offset += parts_[i].out_features;
    if (parts_[i].adapted) adapted_.push_back(i);
  }
}

void AdaptedLinear::refresh(const Parameters& parameters) {
  const auto type = weight_.defined() ? weight_.scalar_type() : at::kFloat;
  if (trained_) {
    const at::Tensor master = parameters.stacked_value(trained_->first_weight, parts_.size());
    if (type == at::kFloat) {
      weight_ = master;
    } else {
      weight_.copy_(master);
    }
    if (trained_->first_bias) {
      const Parameter& first = parameters.list()[*trained_->first_bias];
      bias_ = parameters.values.narrow(0, first.offset, weight_.size(0));
    }
  }
  if (adapted_.empty()) return;
  a_ = parameters.stacked_value(parts_[adapted_.front()].lora_a, adapted_.size()).to(type);
  b_.clear();
  for (const size_t i : adapted_) b_.push_back(parameters.value(parts_[i].lora_b).mul(lora_.scaling).to(type));
}

at::Tensor AdaptedLinear::dropped(const at::Tensor& x, uint64_t dropout_seed, size_t index) const {
  const at::Tensor mask = dropout_mask(x.sizes(), lora_.dropout, dropout_seed + index, x.device());
  return x * mask.to(x.scalar_type());
}

at::Tensor AdaptedLinear::forward(const at::Tensor& x, at::Tensor& hidden, uint64_t dropout_seed) const {
  at::Tensor y = linear_forward(x, weight_, bias_);
  if (adapted_.empty()) return y;
  const bool drops = lora_.dropout > 0 && dropout_seed != 0;
  if (drops) {
    std::vector<at::Tensor> columns;
    for (size_t k = 0; k < adapted_.size(); ++k) {
      columns.push_back(
          at::linear(dropped(x, dropout_seed, k), a_.narrow(0, static_cast<int64_t>(k) * lora_.rank, lora_.rank)));
    }
    hidden = at::cat(columns, 1);
  } else {
    hidden = at::linear(x, a_);
  }
  for (size_t k = 0; k < adapted_.size(); ++k) {
    const size_t part = adapted_[k];
    at::Tensor out = y.narrow(1, offsets_[part], parts_[part].out_features);
    out.addmm_(hidden.narrow(1, static_cast<int64_t>(k) * lora_.rank, lora_.rank), b_[k].t());
  }
  return y;
}

at::Tensor AdaptedLinear::backward(const at::Tensor& x, const at::Tensor& hidden, const at::Tensor& dy,
                                   uint64_t dropout_seed, bool need_input_gradient, Parameters& parameters) const {
  at::Tensor dx;
  if (need_input_gradient) dx = linear_input_gradient(dy, weight_);
  if (trained_) {
    add_product(parameters.stacked_gradient(trained_->first_weight, parts_.size()), dy.t(), x, 1.0);
    if (trained_->first_bias) {
      const Parameter& first = parameters.list()[*trained_->first_bias];
      parameters.gradients.narrow(0, first.offset, weight_.size(0)).add_(dy.sum(0, false, at::kFloat));
    }
  }
  if (adapted_.empty()) return dx;

  std::vector<at::Tensor> columns;
  for (size_t k = 0; k < adapted_.size(); ++k) {
    const size_t part = adapted_[k];
    const at::Tensor dy_part = dy.narrow(1, offsets_[part], parts_[part].out_features);
    const at::Tensor hidden_part = hidden.narrow(1, static_cast<int64_t>(k) * lora_.rank, lora_.rank);
    add_product(parameters.gradient(parts_[part].lora_b), dy_part.t(), hidden_part, lora_.scaling);
    columns.push_back(dy_part.mm(b_[k]));  // b_ carries the scaling
  }
  const bool drops = lora_.dropout > 0 && dropout_seed != 0;
  if (!drops) {
    const at::Tensor dhidden = columns.size() == 1 ? columns.front() : at::cat(columns, 1);
    add_product(parameters.stacked_gradient(parts_[adapted_.front()].lora_a, adapted_.size()), dhidden.t(), x, 1.0);
    if (need_input_gradient) dx.addmm_(dhidden, a_);
    return dx;
  }
  for (size_t k = 0; k < adapted_.size(); ++k) {
    const at::Tensor mask = dropout_mask(x.sizes(), lora_.dropout, dropout_seed + k, x.device()).to(x.scalar_type());
    const at::Tensor a = a_.narrow(0, static_cast<int64_t>(k) * lora_.rank, lora_.rank);
    add_product(parameters.gradient(parts_[adapted_[k]].lora_a), columns[k].t(), x * mask, 1.0);
    if (need_input_gradient) dx.add_(columns[k].mm(a).mul_(mask));
  }
  return dx;
}

}  // namespace slipway::train
