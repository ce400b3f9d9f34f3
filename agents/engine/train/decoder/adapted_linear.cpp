#include "agents/engine/train/decoder/adapted_linear.h"

#include <ATen/ATen.h>

#include <utility>

#include "agents/engine/train/decoder/tensor_ops.h"

namespace slipway::train {

AdaptedLinear::AdaptedLinear(const Compute& compute, std::vector<LinearPart> parts, at::Tensor weight, at::Tensor bias,
                             LoraOptions lora, std::optional<Trained> trained)
    : compute_(compute),
      parts_(std::move(parts)),
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
  in_features_ = weight.size(1);
  b_.resize(adapted_.size());
  weights_.resize(parts_.size());
  if (!trained_) assign(std::move(weight));
}

void AdaptedLinear::assign(at::Tensor rows) {
  for (size_t i = 0; i < parts_.size(); ++i) weights_[i].assign(part_of(rows, i));
  whole_.assign(std::move(rows));
}

void AdaptedLinear::quantize(Quantization quantization, bool double_quantization) {
  for (const ProductWeight& weight : weights_) {
    quantized_.emplace_back(weight.rows(), quantization, double_quantization);
  }
  weights_.clear();
  whole_.release();
}

at::Tensor AdaptedLinear::rows() const {
  if (master_.defined()) return narrowed(compute_, master_);
  if (quantized_.empty()) return whole_.rows();
  const at::Tensor here = at::empty({out_features_, in_features_}, at::TensorOptions().dtype(compute_.type));
  for (size_t i = 0; i < parts_.size(); ++i) quantized_[i].read(part_of(here, i));
  return here.to(compute_.device);
}

at::Tensor AdaptedLinear::frozen_rows() const {
  if (trained_) return {};
  if (quantized_.empty()) return whole_.rows();
  std::vector<at::Tensor> packed;
  for (const QuantizedWeight& weight : quantized_) packed.push_back(weight.packed());
  return at::cat(packed);
}

void AdaptedLinear::set_frozen_rows(at::Tensor rows) {
  if (quantized_.empty()) {
    assign(std::move(rows));
    return;
  }
  int64_t offset = 0;
  for (QuantizedWeight& weight : quantized_) {
    weight.unpack(rows.narrow(0, offset, weight.packed_bytes()));
    offset += weight.packed_bytes();
  }
}

const std::vector<ProductWeight>& AdaptedLinear::weights(std::vector<ProductWeight>& scratch) const {
  if (quantized_.empty() && !master_.defined()) return weights_;
  const at::Tensor all = master_.defined() ? master_ : rows();
  for (size_t i = 0; i < parts_.size(); ++i) {
    scratch.push_back(master_.defined() ? ProductWeight::of_master(compute_, part_of(all, i))
                                        : ProductWeight(part_of(all, i)));
  }
  return scratch;
}

void AdaptedLinear::release() {
  master_.reset();
  whole_.release();
  for (QuantizedWeight& weight : quantized_) weight.drop();
  for (ProductWeight& weight : weights_) weight.release();
  a_.release();
  for (ProductWeight& b : b_) b.release();
  if (trained_ && trained_->first_bias) bias_.reset();
}

void AdaptedLinear::refresh(const Parameters& parameters) {
  if (trained_) {
    const at::Tensor master = parameters.stacked_value(trained_->first_weight, parts_.size());
    if (compute_.device.is_cpu()) {
      master_ = master;
    } else if (compute_.type == at::kFloat) {
      assign(master);
    } else if (const at::Tensor old = whole_.rows(); old.defined()) {
      old.copy_(master);
      assign(old);
    } else {
      assign(master.to(compute_.type));
    }
    if (trained_->first_bias) bias_ = parameters.joined_value(*trained_->first_bias, out_features_);
  }
  if (adapted_.empty()) return;
  a_.assign(parameters.stacked_value(parts_[adapted_.front()].lora_a, adapted_.size()).to(compute_.type));
  for (size_t k = 0; k < adapted_.size(); ++k) {
    const LinearPart& part = parts_[adapted_[k]];
    b_[k].assign(parameters.value(part.lora_b).mul(part.scaling).to(compute_.type));
    if (!part.magnitude) continue;
    row_norms_[adapted_[k]] = row_norms(adapted_[k], parameters);
    row_scales_[adapted_[k]] = parameters.value(*part.magnitude) / row_norms_[adapted_[k]];
  }
}

at::Tensor AdaptedLinear::row_norms(size_t part, const Parameters& parameters) const {
  const at::Tensor a = parameters.value(parts_[part].lora_a), b = parameters.value(parts_[part].lora_b);
  const at::Tensor whole = at::addmm(part_of(rows(), part).to(at::kFloat), b, a, 1.0, parts_[part].scaling);
  return at::linalg_vector_norm(whole, 2, at::IntArrayRef{1});
}

at::Tensor AdaptedLinear::mask_of(const at::Tensor& x, uint64_t dropout_seed, size_t index) const {
  return dropout_mask(x.sizes(), lora_.dropout, dropout_seed + index, x.device()).to(x.scalar_type());
}

at::Tensor AdaptedLinear::a_of(size_t index) const {
  return a_.rows().narrow(0, static_cast<int64_t>(index) * lora_.rank, lora_.rank);
}

at::Tensor AdaptedLinear::bias_of(size_t part) const {
  return bias_.defined() ? bias_.narrow(0, offsets_[part], parts_[part].out_features) : at::Tensor();
}

// x·Aᵀ of all adapted parts, each with its own dropout; without dropout as the first of the products of x.
at::Tensor AdaptedLinear::compress(const at::Tensor& x, uint64_t dropout_seed,
                                   std::vector<ForwardPart>& products) const {
  if (adapted_.empty()) return {};
  const at::Tensor hidden = at::empty({x.size(0), static_cast<int64_t>(adapted_.size()) * lora_.rank}, x.options());
  if (!drops(dropout_seed)) {
    products.push_back({&a_, hidden});
    return hidden;
  }
  for (size_t k = 0; k < adapted_.size(); ++k) {
    const ProductWeight a(a_of(k));
    forward_products(compute_, x * mask_of(x, dropout_seed, k), {{&a, hidden_of(hidden, k)}});
  }
  return hidden;
}

ForwardPart AdaptedLinear::forward_part(const ProductWeight& weight, const at::Tensor& hidden, size_t part,
                                        at::Tensor y) const {
  ForwardPart result{&weight, std::move(y), parts_[part].magnitude ? at::Tensor() : bias_of(part)};
  if (places_[part]) result.delta = {hidden_of(hidden, *places_[part]), &b_[*places_[part]]};
  return result;
}

at::Tensor AdaptedLinear::forward(const at::Tensor& x, at::Tensor& hidden, uint64_t dropout_seed, at::Tensor y) const {
  if (!y.defined()) y = at::empty({x.size(0), out_features_}, x.options());
  std::vector<ForwardPart> products;
  hidden = compress(x, dropout_seed, products);
  std::vector<ProductWeight> scratch;
  const std::vector<ProductWeight>& all = weights(scratch);
  for (size_t i = 0; i < parts_.size(); ++i) {
    products.push_back(forward_part(all[i], hidden, i, y.narrow(1, offsets_[i], parts_[i].out_features)));
  }
  forward_products(compute_, x, products);
  for (size_t i = 0; i < parts_.size(); ++i) {
    if (!parts_[i].magnitude) continue;
    at::Tensor part = y.narrow(1, offsets_[i], parts_[i].out_features).mul_(row_scales_[i]);
    if (bias_.defined()) part.add_(bias_of(i));
  }
  return y;
}

void AdaptedLinear::add_forward(const at::Tensor& x, at::Tensor& hidden, uint64_t dropout_seed,
                                const at::Tensor& residual, at::Tensor sum) const {
  if (dora_ || parts_.size() > 1) {
    at::add_out(sum, residual, forward(x, hidden, dropout_seed));
    return;
  }
  std::vector<ForwardPart> products;
  hidden = compress(x, dropout_seed, products);
  std::vector<ProductWeight> scratch;
  products.push_back(forward_part(weights(scratch).front(), hidden, 0, std::move(sum)));
  products.back().added = residual;
  forward_products(compute_, x, products);
}

// The gradient of u, which magnitudes scale, from that of y, and the magnitudes' own: Σ dy·u over the rows' norm.
at::Tensor AdaptedLinear::backward_dora(const at::Tensor& x, const at::Tensor& hidden, const at::Tensor& dy,
                                        Parameters& parameters) const {
  at::Tensor scaled = dy.clone();
  std::vector<ProductWeight> scratch;
  const std::vector<ProductWeight>& all = weights(scratch);
  for (const size_t i : adapted_) {
    const at::Tensor dy_part = dy.narrow(1, offsets_[i], parts_[i].out_features);
    const at::Tensor u = at::empty({x.size(0), parts_[i].out_features}, x.options());
    forward_products(compute_, x, {forward_part(all[i], hidden, i, u)});
    parameters.gradient(*parts_[i].magnitude).add_(dy_part.to(at::kFloat).mul(u).sum(0).div_(row_norms_[i]));
    scaled.narrow(1, offsets_[i], parts_[i].out_features).mul_(row_scales_[i]);
  }
  return scaled;
}

void AdaptedLinear::backward_b(const at::Tensor& hidden, const at::Tensor& dy, const at::Tensor& dhidden,
                               Parameters& parameters, std::vector<GradientPart>& gradients) const {
  for (size_t k = 0; k < adapted_.size(); ++k) {
    const LinearPart& part = parts_[adapted_[k]];
    const at::Tensor dy_part = dy.narrow(1, offsets_[adapted_[k]], part.out_features);
    // Transposed, so that the long side is read as it lies.
    const at::Tensor db = at::zeros({lora_.rank, part.out_features}, hidden.options().dtype(at::kFloat));
    add_outer(compute_, db, hidden_of(hidden, k), dy_part, part.scaling);
    parameters.gradient(part.lora_b).add_(db.t());
    gradients.push_back({dy_part, &b_[k], hidden_of(dhidden, k)});  // b_ carries the scaling
  }
}

at::Tensor AdaptedLinear::backward(const at::Tensor& x, const at::Tensor& hidden, const at::Tensor& dy_given,
                                   uint64_t dropout_seed, bool need_input_gradient, Parameters& parameters) const {
  const at::Tensor dy = dora_ ? backward_dora(x, hidden, dy_given, parameters) : dy_given;
  if (trained_) {
    add_outer(compute_, parameters.stacked_gradient(trained_->first_weight, parts_.size()), dy, x, 1.0);
    if (trained_->first_bias) {
      parameters.joined_gradient(*trained_->first_bias, out_features_).add_(dy.sum(0, false, at::kFloat));
    }
  }
  const bool drops_here = drops(dropout_seed) && !adapted_.empty();
  at::Tensor dx, dhidden;
  std::vector<GradientPart> gradients;
  if (!adapted_.empty()) {
    dhidden = at::empty_like(hidden);
    backward_b(hidden, dy, dhidden, parameters, gradients);
  }
  const ProductWeight weight = !need_input_gradient ? ProductWeight()
                               : master_.defined()  ? ProductWeight::of_master(compute_, master_)
                                                    : ProductWeight(rows());
  if (need_input_gradient) {
    dx = at::empty({dy.size(0), in_features_}, dy.options());
    gradients.push_back({dy, &weight, dx, drops_here || adapted_.empty() ? Delta() : Delta{dhidden, &a_}});
  }
  if (!gradients.empty()) input_gradients(compute_, gradients);
  if (adapted_.empty()) return dx;
  if (!drops_here) {
    add_outer(compute_, parameters.stacked_gradient(parts_[adapted_.front()].lora_a, adapted_.size()), dhidden, x, 1.0);
    return dx;
  }
  for (size_t k = 0; k < adapted_.size(); ++k) {
    const at::Tensor mask = mask_of(x, dropout_seed, k);
    const at::Tensor part = hidden_of(dhidden, k);
    add_outer(compute_, parameters.gradient(parts_[adapted_[k]].lora_a), part, x * mask, 1.0);
    if (need_input_gradient) dx.add_(part.mm(a_of(k)).mul_(mask));
  }
  return dx;
}

}  // namespace slipway::train
