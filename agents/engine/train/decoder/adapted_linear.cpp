#include "agents/engine/train/decoder/adapted_linear.h"

#include <ATen/ATen.h>

#include <utility>

#include "agents/engine/train/decoder/tensor_ops.h"

namespace slipway::train {

AdaptedLinear::AdaptedLinear(const Compute& compute, std::vector<LinearPart> parts, at::Tensor weight, at::Tensor bias,
                             LoraOptions lora, std::optional<Trained> trained)
    : compute_(compute),
      parts_(std::move(parts)),
      rows_(std::move(weight)),
      bias_(std::move(bias)),
      lora_(lora),
      trained_(trained),
      row_scales_(parts_.size()),
      row_norms_(parts_.size()) {
  int64_t offset = 0;
  for (size_t i = 0; i < parts_.size(); ++i) {
    offsets_.push_back(offset);
    offset += parts_[i].out_features;
    places_.push_back(parts_[i].adapted ? std::optional(adapted_.size()) : std::nullopt);
    if (parts_[i].adapted) adapted_.push_back(i);
    dora_ = dora_ || parts_[i].magnitude.has_value();
  }
  out_features_ = offset;
  in_features_ = rows_.size(1);
  b_.resize(adapted_.size());
}

void AdaptedLinear::quantize(Quantization quantization, bool double_quantization) {
  for (size_t i = 0; i < parts_.size(); ++i) {
    quantized_.emplace_back(part_of(rows_, i), quantization, double_quantization);
  }
  rows_.reset();
}

at::Tensor AdaptedLinear::rows() const {
  if (quantized_.empty()) return rows_;
  const at::Tensor here = at::empty({out_features_, in_features_}, at::TensorOptions().dtype(compute_.type));
  for (size_t i = 0; i < parts_.size(); ++i) quantized_[i].read(part_of(here, i));
  return here.to(compute_.device);
}

at::Tensor AdaptedLinear::frozen_rows() const {
  if (trained_) return {};
  if (quantized_.empty()) return rows_;
  std::vector<at::Tensor> packed;
  for (const QuantizedWeight& weight : quantized_) packed.push_back(weight.packed());
  return at::cat(packed);
}

void AdaptedLinear::set_frozen_rows(at::Tensor rows) {
  if (quantized_.empty()) {
    rows_ = std::move(rows);
    return;
  }
  int64_t offset = 0;
  for (QuantizedWeight& weight : quantized_) {
    weight.unpack(rows.narrow(0, offset, weight.packed_bytes()));
    offset += weight.packed_bytes();
  }
}

void AdaptedLinear::release() {
  rows_.reset();
  for (QuantizedWeight& weight : quantized_) weight.drop();
  a_.reset();
  for (at::Tensor& b : b_) b.reset();
  if (trained_ && trained_->first_bias) bias_.reset();
}

void AdaptedLinear::refresh(const Parameters& parameters) {
  if (trained_) {
    const at::Tensor master = parameters.stacked_value(trained_->first_weight, parts_.size());
    if (compute_.type == at::kFloat) {
      rows_ = master;
    } else if (rows_.defined()) {
      rows_.copy_(master);
    } else {
      rows_ = master.to(compute_.type);
    }
    if (trained_->first_bias) bias_ = parameters.joined_value(*trained_->first_bias, out_features_);
  }
  if (adapted_.empty()) return;
  a_ = parameters.stacked_value(parts_[adapted_.front()].lora_a, adapted_.size()).to(compute_.type);
  for (size_t k = 0; k < adapted_.size(); ++k) {
    const LinearPart& part = parts_[adapted_[k]];
    b_[k] = parameters.value(part.lora_b).mul(lora_.scaling).to(compute_.type);
    if (!part.magnitude) continue;
    row_norms_[adapted_[k]] = row_norms(adapted_[k], parameters);
    row_scales_[adapted_[k]] = parameters.value(*part.magnitude) / row_norms_[adapted_[k]];
  }
}

at::Tensor AdaptedLinear::row_norms(size_t part, const Parameters& parameters) const {
  const at::Tensor a = parameters.value(parts_[part].lora_a), b = parameters.value(parts_[part].lora_b);
  const at::Tensor whole = at::addmm(part_of(rows(), part).to(at::kFloat), b, a, 1.0, lora_.scaling);
  return at::linalg_vector_norm(whole, 2, at::IntArrayRef{1});
}

at::Tensor AdaptedLinear::mask_of(const at::Tensor& x, uint64_t dropout_seed, size_t index) const {
  return dropout_mask(x.sizes(), lora_.dropout, dropout_seed + index, x.device()).to(x.scalar_type());
}

at::Tensor AdaptedLinear::a_of(size_t index) const {
  return a_.narrow(0, static_cast<int64_t>(index) * lora_.rank, lora_.rank);
}

at::Tensor AdaptedLinear::bias_of(size_t part) const {
  return bias_.defined() ? bias_.narrow(0, offsets_[part], parts_[part].out_features) : at::Tensor();
}

// x·Aᵀ of all adapted parts, each with its own dropout.
at::Tensor AdaptedLinear::compress(const at::Tensor& x, uint64_t dropout_seed) const {
  const at::Tensor hidden = at::empty({x.size(0), static_cast<int64_t>(adapted_.size()) * lora_.rank}, x.options());
  if (!drops(dropout_seed)) {
    forward_product(x, a_, {}, {}, hidden);
    return hidden;
  }
  for (size_t k = 0; k < adapted_.size(); ++k) {
    forward_product(x * mask_of(x, dropout_seed, k), a_of(k), {}, {},
                    hidden.narrow(1, static_cast<int64_t>(k) * lora_.rank, lora_.rank));
  }
  return hidden;
}

void AdaptedLinear::unscaled(const at::Tensor& x, const at::Tensor& hidden, const at::Tensor& rows, size_t part,
                             at::Tensor y) const {
  const auto place = static_cast<int64_t>(*places_[part]);
  forward_product(x, part_of(rows, part), {}, {hidden.narrow(1, place * lora_.rank, lora_.rank), b_[*places_[part]]},
                  std::move(y));
}

at::Tensor AdaptedLinear::forward(const at::Tensor& x, at::Tensor& hidden, uint64_t dropout_seed) const {
  const at::Tensor y = at::empty({x.size(0), out_features_}, x.options());
  if (!adapted_.empty()) hidden = compress(x, dropout_seed);
  const at::Tensor weight = rows();
  for (size_t i = 0; i < parts_.size(); ++i) {
    at::Tensor part = y.narrow(1, offsets_[i], parts_[i].out_features);
    if (parts_[i].magnitude) {
      unscaled(x, hidden, weight, i, part);
      part.mul_(row_scales_[i]);
      if (bias_.defined()) part.add_(bias_of(i));
      continue;
    }
    Delta delta;
    if (places_[i]) {
      delta = {hidden.narrow(1, static_cast<int64_t>(*places_[i]) * lora_.rank, lora_.rank), b_[*places_[i]]};
    }
    forward_product(x, part_of(weight, i), bias_of(i), delta, part);
  }
  return y;
}

void AdaptedLinear::add_forward(const at::Tensor& x, at::Tensor& hidden, uint64_t dropout_seed,
                                at::Tensor target) const {
  if (dora_ || parts_.size() > 1) {
    target.add_(forward(x, hidden, dropout_seed));
    return;
  }
  Delta delta;
  if (!adapted_.empty()) {
    hidden = compress(x, dropout_seed);
    delta = {hidden, b_.front()};
  }
  add_forward_product(x, rows(), bias_, delta, target);
}

// The gradient of u from that of y, and the magnitudes' own: Σ dy·u over the rows' norm.
void AdaptedLinear::backward_dora(const at::Tensor& x, const at::Tensor& hidden, const at::Tensor& dy,
                                  const at::Tensor& rows, at::Tensor& scaled, Parameters& parameters) const {
  scaled = dy.clone();
  for (const size_t i : adapted_) {
    const at::Tensor dy_part = dy.narrow(1, offsets_[i], parts_[i].out_features);
    const at::Tensor u = at::empty({x.size(0), parts_[i].out_features}, x.options());
    unscaled(x, hidden, rows, i, u);
    parameters.gradient(*parts_[i].magnitude).add_(dy_part.to(at::kFloat).mul(u).sum(0).div_(row_norms_[i]));
    scaled.narrow(1, offsets_[i], parts_[i].out_features).mul_(row_scales_[i]);
  }
}

at::Tensor AdaptedLinear::backward(const at::Tensor& x, const at::Tensor& hidden, const at::Tensor& dy_given,
                                   uint64_t dropout_seed, bool need_input_gradient, Parameters& parameters) const {
  at::Tensor dy = dy_given;
  const at::Tensor weight = dora_ || need_input_gradient ? rows() : at::Tensor();
  if (dora_) backward_dora(x, hidden, dy_given, weight, dy, parameters);
  if (trained_) {
    add_outer(compute_, parameters.stacked_gradient(trained_->first_weight, parts_.size()), dy, x, 1.0);
    if (trained_->first_bias) {
      parameters.joined_gradient(*trained_->first_bias, out_features_).add_(dy.sum(0, false, at::kFloat));
    }
  }
  if (adapted_.empty()) return need_input_gradient ? input_gradient(dy, weight, {}, {}) : at::Tensor();

  const at::Tensor dhidden = at::empty({x.size(0), static_cast<int64_t>(adapted_.size()) * lora_.rank}, x.options());
  for (size_t k = 0; k < adapted_.size(); ++k) {
    const size_t part = adapted_[k];
    const at::Tensor dy_part = dy.narrow(1, offsets_[part], parts_[part].out_features);
    const at::Tensor hidden_part = hidden.narrow(1, static_cast<int64_t>(k) * lora_.rank, lora_.rank);
    // Transposed, so that the long side is read as it lies.
    const at::Tensor db = at::zeros({lora_.rank, parts_[part].out_features}, a_.options().dtype(at::kFloat));
    add_outer(compute_, db, hidden_part, dy_part, lora_.scaling);
    parameters.gradient(parts_[part].lora_b).add_(db.t());
    dhidden.narrow(1, static_cast<int64_t>(k) * lora_.rank, lora_.rank)
        .copy_(dy_part.mm(b_[k]));  // b_ carries the scaling
  }
  if (!drops(dropout_seed)) {
    add_outer(compute_, parameters.stacked_gradient(parts_[adapted_.front()].lora_a, adapted_.size()), dhidden, x, 1.0);
    return need_input_gradient ? input_gradient(dy, weight, dhidden, a_) : at::Tensor();
  }
  at::Tensor dx;
  if (need_input_gradient) dx = input_gradient(dy, weight, {}, {});
  for (size_t k = 0; k < adapted_.size(); ++k) {
    const at::Tensor mask = mask_of(x, dropout_seed, k);
    const at::Tensor part = dhidden.narrow(1, static_cast<int64_t>(k) * lora_.rank, lora_.rank);
    add_outer(compute_, parameters.gradient(parts_[adapted_[k]].lora_a), part, x * mask, 1.0);
    if (need_input_gradient) dx.add_(part.mm(a_of(k)).mul_(mask));
  }
  return dx;
}

}  // namespace slipway::train
