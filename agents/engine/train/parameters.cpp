#include "agents/engine/train/parameters.h"

#include <ATen/ATen.h>

#include <cmath>
#include <utility>

namespace slipway::train {

size_t Parameters::add(std::string name, std::vector<int64_t> shape, bool decayed) {
  int64_t elements = 1;
  for (const int64_t dimension : shape) elements *= dimension;
  list_.push_back({std::move(name), std::move(shape), decayed, size_, elements});
  size_ += elements;
  return list_.size() - 1;
}

void Parameters::allocate(at::Device device, bool trainable) {
  const auto options = at::TensorOptions().dtype(at::kFloat).device(device);
  values = at::zeros({size_}, options);
  if (!trainable) return;
  gradients = at::zeros({size_}, options);
  exp_avg = at::zeros({size_}, options);
  exp_avg_sq = at::zeros({size_}, options);
}

at::Tensor Parameters::value(size_t index) const {
  return values.narrow(0, list_[index].offset, list_[index].size).view(list_[index].shape);
}

at::Tensor Parameters::gradient(size_t index) const {
  return gradients.narrow(0, list_[index].offset, list_[index].size).view(list_[index].shape);
}

at::Tensor Parameters::stacked(const at::Tensor& flat, size_t first, size_t count) const {
  const Parameter& begin = list_[first];
  const Parameter& last = list_[first + count - 1];
  const int64_t columns = begin.shape.back();
  return flat.narrow(0, begin.offset, last.offset + last.size - begin.offset).view({-1, columns});
}

at::Tensor Parameters::stacked_value(size_t first, size_t count) const { return stacked(values, first, count); }

at::Tensor Parameters::stacked_gradient(size_t first, size_t count) const { return stacked(gradients, first, count); }

void adamw_step(Parameters& parameters, const AdamWOptions& options, int64_t step) {
  const double correction1 = 1.0 - std::pow(options.beta1, static_cast<double>(step));
  const double correction2 = 1.0 - std::pow(options.beta2, static_cast<double>(step));
  if (options.weight_decay != 0) {
    const double kept = 1.0 - options.learning_rate * options.weight_decay;
    for (const Parameter& p : parameters.list()) {
      if (p.decayed) parameters.values.narrow(0, p.offset, p.size).mul_(kept);
    }
  }
  // In pieces that stay in the cache.
  constexpr int64_t kPiece = 1 << 17;
  for (int64_t begin = 0; begin < parameters.element_count(); begin += kPiece) {
    const int64_t size = std::min(kPiece, parameters.element_count() - begin);
    const at::Tensor gradient = parameters.gradients.narrow(0, begin, size);
    at::Tensor m = parameters.exp_avg.narrow(0, begin, size);
    at::Tensor v = parameters.exp_avg_sq.narrow(0, begin, size);
    m.lerp_(gradient, 1.0 - options.beta1);
    v.mul_(options.beta2).addcmul_(gradient, gradient, 1.0 - options.beta2);
    const at::Tensor denominator = v.sqrt().div_(std::sqrt(correction2)).add_(options.epsilon);
    parameters.values.narrow(0, begin, size).addcdiv_(m, denominator, -options.learning_rate / correction1);
  }
}

double clip_gradients(Parameters& parameters, double max_norm) {
  std::vector<at::Tensor> norms;
  for (const Parameter& p : parameters.list()) {
    norms.push_back(at::linalg_vector_norm(parameters.gradients.narrow(0, p.offset, p.size), 2));
  }
  const double norm = at::linalg_vector_norm(at::stack(norms).to(at::kDouble), 2).item<double>();
  if (max_norm > 0) {
    const double factor = max_norm / (norm + 1e-6);
    if (factor < 1.0) parameters.gradients.mul_(factor);
  }
  return norm;
}

}  // namespace slipway::train
