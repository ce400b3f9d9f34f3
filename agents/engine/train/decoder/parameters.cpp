#include "agents/engine/train/decoder/parameters.h"

#include <ATen/ATen.h>

#include <cmath>
#include <utility>

namespace slipway::train {

size_t Parameters::add(Parameter parameter) {
  parameter.offset = size_;
  parameter.size = 1;
  for (const int64_t dimension : parameter.shape) parameter.size *= dimension;
  size_ += parameter.size;
  list_.push_back(std::move(parameter));
  return list_.size() - 1;
}

void Parameters::allocate(at::Device device, bool trainable) {
  const auto options = at::TensorOptions().dtype(at::kFloat).device(device);
  values = at::zeros({size_}, options);
  if (!trainable) return;
  gradients = at::zeros({size_}, options);
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
