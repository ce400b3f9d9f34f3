// How fast the device could multiply matrices: the hundred per cent of the metric mfu. Used by trainer.cpp.
#pragma once

#include <ATen/core/Tensor.h>

namespace slipway::train {

// Floating-point operations per second. A CPU's is measured, as the best of a few products of 1,024 by 1,024 by 1,024
// in `type` by libtorch and by our own kernels on all of this process's threads, which takes about a tenth of a second;
// a GPU's is its maker's figure for dense products in bf16 (f32: TF32), 0 when the GPU is not known.
double matrix_rate(at::Device device, at::ScalarType type);

}  // namespace slipway::train
