#include "agents/engine/train/output_loss.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "agents/engine/train/tensor_ops.h"

namespace slipway::train {

double output_loss(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets, double scale,
                   at::Tensor* gradient, at::Tensor weight_gradient) {
  const int64_t rows = hidden.size(0);
  // About 32 MiB of f32 logits at once on a CPU, where they should stay near the cache; more on a GPU.
  const int64_t budget = hidden.is_cpu() ? int64_t{1} << 23 : int64_t{1} << 27;
  const int64_t block = std::clamp<int64_t>(budget / weight.size(0), 16, 4096);
  if (gradient != nullptr) *gradient = at::empty_like(hidden);
  at::Tensor total = at::zeros({}, hidden.options().dtype(at::kDouble));
  for (int64_t begin = 0; begin < rows; begin += block) {
    const int64_t size = std::min(block, rows - begin);
    const at::Tensor part = hidden.narrow(0, begin, size);
    const at::Tensor target = targets.narrow(0, begin, size).unsqueeze(1);
    const at::Tensor log_probabilities = at::log_softmax(linear_forward(part, weight, {}), -1, at::kFloat);
    total.sub_(log_probabilities.gather(1, target).sum(at::kDouble));
    if (gradient == nullptr) continue;
    at::Tensor dlogits = log_probabilities;
    dlogits.exp_();
    dlogits.scatter_add_(1, target, at::full({size, 1}, -1.0, dlogits.options()));
    dlogits.mul_(scale);
    const at::Tensor typed = dlogits.to(hidden.scalar_type());
    gradient->narrow(0, begin, size).copy_(linear_input_gradient(typed, weight));
    if (weight_gradient.defined()) add_product(weight_gradient, typed.t(), part, 1.0);
  }
  return total.item<double>();
}

}  // namespace slipway::train
