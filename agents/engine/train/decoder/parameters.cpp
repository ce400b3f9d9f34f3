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
  units_.back().end = size_;
  unit_of_.push_back(units_.size() - 1);
  list_.push_back(std::move(parameter));
  return list_.size() - 1;
}

void Parameters::begin_unit() { units_.push_back({size_, size_, {}, {}}); }

void Parameters::allocate(at::Device device, bool trainable) {
  const auto options = at::TensorOptions().dtype(at::kFloat).device(device);
  values = at::zeros({size_}, options);
  if (trainable) gradients = at::zeros({size_}, options);
  for (ParameterUnit& unit : units_) {
    unit.values = values.narrow(0, unit.begin, unit.end - unit.begin);
    if (trainable) unit.gradients = gradients.narrow(0, unit.begin, unit.end - unit.begin);
  }
}

void Parameters::leave_gradients() {
  gradients.reset();
  for (ParameterUnit& unit : units_) unit.gradients.reset();
}

at::Tensor Parameters::value(size_t index) const {
  return joined_value(index, list_[index].size).view(list_[index].shape);
}

at::Tensor Parameters::gradient(size_t index) const {
  return joined_gradient(index, list_[index].size).view(list_[index].shape);
}

at::Tensor Parameters::joined_value(size_t first, int64_t elements) const {
  return unit_of(first).values.narrow(0, list_[first].offset - unit_of(first).begin, elements);
}

at::Tensor Parameters::joined_gradient(size_t first, int64_t elements) const {
  return unit_of(first).gradients.narrow(0, list_[first].offset - unit_of(first).begin, elements);
}

at::Tensor Parameters::stacked(const at::Tensor& flat, size_t first, size_t count) const {
  const Parameter& begin = list_[first];
  const Parameter& last = list_[first + count - 1];
  const int64_t columns = begin.shape.back();
  return flat.narrow(0, begin.offset - unit_of(first).begin, last.offset + last.size - begin.offset)
      .view({-1, columns});
}

at::Tensor Parameters::stacked_value(size_t first, size_t count) const {
  return stacked(unit_of(first).values, first, count);
}

at::Tensor Parameters::stacked_gradient(size_t first, size_t count) const {
  return stacked(unit_of(first).gradients, first, count);
}

double squared_norm(const Parameters& parameters) {
  std::vector<at::Tensor> norms;
  for (const Parameter& p : parameters.list()) {
    norms.push_back(at::linalg_vector_norm(parameters.gradients.narrow(0, p.offset, p.size), 2));
  }
  const double norm = at::linalg_vector_norm(at::stack(norms).to(at::kDouble), 2).item<double>();
  return norm * norm;
}

void clip_gradients(Parameters& parameters, double norm, double max_norm) {
  if (max_norm <= 0) return;
  const double factor = max_norm / (norm + 1e-6);
  if (factor < 1.0) parameters.gradients.mul_(factor);
}

}  // namespace slipway::train
