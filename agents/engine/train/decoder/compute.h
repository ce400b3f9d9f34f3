// How a decoder computes: the type of its products, and the kernels of our own where the CPU has them. Used by all of
// the decoder's parts.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "agents/engine/train/cpu/cpu_kernels.h"
#include "agents/engine/train/decoder/workspace.h"

namespace slipway::train {

struct Compute {
  at::Device device = at::kCPU;
  at::ScalarType type = at::kFloat;     // of weights, activations and products; masters and norms are f32
  const CpuKernels* kernels = nullptr;  // nullptr: libtorch's operations, which run on any device
  bool own_products = false;            // whether the kernels' matrix products beat libtorch's
  std::shared_ptr<Workspace> workspace = std::make_shared<Workspace>();  // the kernels'
};

// portable: libtorch's operations even where there are kernels.
Compute make_compute(at::Device device, at::ScalarType type, bool portable);

}  // namespace slipway::train
