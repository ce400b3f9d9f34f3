#include "agents/engine/train/decoder/norm.h"

#include <ATen/ATen.h>

#include "agents/engine/train/decoder/tensor_ops.h"

namespace slipway::train {

void Norm::refresh(const Parameters& parameters) {
  if (content_.parameter) content_.weight = parameters.value(*content_.parameter);
  if (content_.bias_parameter) content_.bias = parameters.value(*content_.bias_parameter);
}

void Norm::release() {
  if (content_.parameter) content_.weight.reset();
  if (content_.bias_parameter) content_.bias.reset();
}

at::Tensor Norm::forward(const Compute& compute, const at::Tensor& x, NormMemory& memory) const {
  if (kind_ == model::NormKind::kRms) return rms_norm(compute, x, content_.weight, epsilon_, memory.inverse_rms);
  auto [y, mean, inverse] = at::native_layer_norm(x, {x.size(-1)}, content_.weight, content_.bias, epsilon_);
  memory = {inverse, mean};
  return y.to(compute.type);
}

at::Tensor Norm::again(const Compute& compute, const at::Tensor& x, const NormMemory& memory) const {
  if (kind_ == model::NormKind::kRms) return rms_norm_again(compute, x, content_.weight, memory.inverse_rms);
  return x.sub(memory.mean).mul_(memory.inverse_rms).mul_(content_.weight).add_(content_.bias).to(compute.type);
}

void Norm::backward(const Compute& compute, const at::Tensor& dy, const at::Tensor& x, const NormMemory& memory,
                    at::Tensor& dx, Parameters& parameters) const {
  const at::Tensor gradient = content_.parameter ? parameters.gradient(*content_.parameter) : at::Tensor();
  if (kind_ == model::NormKind::kRms) {
    rms_norm_backward(compute, dy, x, content_.weight, memory.inverse_rms, dx, gradient);
    return;
  }
  const bool trained = content_.parameter.has_value();
  auto [dinput, dweight, dbias] =
      at::native_layer_norm_backward(dy.to(at::kFloat), x, {x.size(-1)}, memory.mean, memory.inverse_rms,
                                     content_.weight, content_.bias, {true, trained, trained});
  dx.add_(dinput);
  if (!trained) return;
  gradient.add_(dweight);
  parameters.gradient(*content_.bias_parameter).add_(dbias);
}

}  // namespace slipway::train
