// The trained parameters: f32 masters and gradients, each in one flat buffer, so that the optimizer, the gradient norm
// and checkpoints each work on few large tensors. Where they are shared out among ranks, only the units in use are
// here.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace slipway::train {

struct Parameter {
  std::string name;  // its key in the exported safetensors
  std::vector<int64_t> shape;
  bool decayed = true;           // weight decay applies
  bool embedding = false;        // of tokens or positions, or the output projection
  double lr_scale = 1.0;         // times the learning rate
  int64_t offset = 0, size = 0;  // in the flat buffers
};

// Neighbouring parameters that come and go together: unit 0 is what lies outside the layers, unit 1 + i layer i.
struct ParameterUnit {
  int64_t begin = 0, end = 0;    // in the flat buffers
  at::Tensor values, gradients;  // flat, f32; undefined while they are not here
};

// One thread.
class Parameters {
 public:
  // Before allocate(); parameters added one after the other lie one after the other. Offset and size are filled in.
  // Returns the index.
  size_t add(Parameter parameter);
  // What is added from now on belongs to a new unit.
  void begin_unit();
  // Zeroed; without gradients for a decoder that only computes logits.
  void allocate(at::Device device, bool trainable);

  // Once no step follows.
  void leave_gradients();

  const std::vector<Parameter>& list() const { return list_; }
  int64_t element_count() const { return size_; }
  bool empty() const { return list_.empty(); }
  size_t unit_count() const { return units_.size(); }
  ParameterUnit& unit(size_t index) { return units_[index]; }
  const ParameterUnit& unit(size_t index) const { return units_[index]; }

  // Views into the flat buffers, in the parameter's shape.
  at::Tensor value(size_t index) const;
  at::Tensor gradient(size_t index) const;
  // `count` neighbours from `first` on as one [rows, columns] view; they must have the same number of columns.
  at::Tensor stacked_value(size_t first, size_t count) const;
  at::Tensor stacked_gradient(size_t first, size_t count) const;
  // The same for vectors: [elements].
  at::Tensor joined_value(size_t first, int64_t elements) const;
  at::Tensor joined_gradient(size_t first, int64_t elements) const;

  at::Tensor values, gradients;  // flat, f32; undefined where they are shared out

 private:
  const ParameterUnit& unit_of(size_t index) const { return units_[unit_of_[index]]; }
  at::Tensor stacked(const at::Tensor& flat, size_t first, size_t count) const;

  std::vector<Parameter> list_;
  std::vector<size_t> unit_of_;  // beside list_
  std::vector<ParameterUnit> units_{1};
  int64_t size_ = 0;
};

// The sum of the squares of all gradients.
double squared_norm(const Parameters& parameters);

// When `norm`, the 2-norm of all gradients, is above max_norm (> 0) they are scaled as torch.nn.utils.clip_grad_norm_
// does.
void clip_gradients(Parameters& parameters, double norm, double max_norm);

}  // namespace slipway::train
