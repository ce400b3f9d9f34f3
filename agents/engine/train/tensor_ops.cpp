#include "agents/engine/train/tensor_ops.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

namespace slipway::train {

at::Tensor linear_forward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  at::Tensor y = at::linear(x, weight);
  if (bias.defined()) y.add_(bias);
  return y;
}

at::Tensor linear_input_gradient(const at::Tensor& dy, const at::Tensor& weight) { return dy.mm(weight); }

void add_product(at::Tensor target, const at::Tensor& left, const at::Tensor& right, double scale) {
  if (left.scalar_type() == at::kFloat) {
    target.addmm_(left, right, 1.0, scale);
  } else {
    target.add_(left.mm(right), scale);
  }
}

at::Tensor dropout_mask(at::IntArrayRef shape, double p, uint64_t seed, at::Device device) {
  // Drawn on the CPU, so that a run gives the same adapter wherever it is computed.
  at::Generator generator = at::detail::createCPUGenerator(seed);
  const at::Tensor mask = at::empty(shape, at::kFloat).bernoulli_(1.0 - p, generator).div_(1.0 - p);
  return mask.to(device);
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon, at::ScalarType type,
                    at::Tensor& inverse_rms) {
  inverse_rms = x.square().mean(-1, true).add_(epsilon).rsqrt_();
  return rms_norm_again(x, weight, inverse_rms, type);
}

at::Tensor rms_norm_again(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& inverse_rms,
                          at::ScalarType type) {
  return x.mul(inverse_rms).mul_(weight).to(type);
}

void rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                       const at::Tensor& inverse_rms, at::Tensor& dx, at::Tensor weight_gradient) {
  const at::Tensor normalized = x.mul(inverse_rms);
  const at::Tensor dy32 = dy.to(at::kFloat);
  if (weight_gradient.defined()) weight_gradient.add_(dy32.mul(normalized).sum(0));
  at::Tensor scaled = dy32.mul(weight);
  const at::Tensor projection = scaled.mul(normalized).mean(-1, true);
  dx.add_(scaled.sub_(normalized * projection).mul_(inverse_rms));
}

void rotate(at::Tensor heads, const at::Tensor& cosine, const at::Tensor& sine) {
  const int64_t half = heads.size(-1) / 2;
  at::Tensor first = heads.narrow(-1, 0, half), second = heads.narrow(-1, half, half);
  const at::Tensor rotated = first.mul(cosine).sub_(second.mul(sine));
  second.mul_(cosine).add_(first.mul(sine));
  first.copy_(rotated);
}

}  // namespace slipway::train
