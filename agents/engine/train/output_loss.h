// Cross entropy fused with the output projection, a block of rows at a time: the logits of a whole batch never exist.
#pragma once

#include <ATen/core/Tensor.h>

namespace slipway::train {

// hidden [m, h] and weight [vocab, h] in the compute type, targets [m] int64. Returns the sum of -log p(target),
// natural logarithm. When `gradient` is not null it becomes d(scale · loss)/d(hidden), in the compute type;
// weight_gradient (f32, may be undefined) has its own added.
double output_loss(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets, double scale,
                   at::Tensor* gradient, at::Tensor weight_gradient);

}  // namespace slipway::train
