// Cross entropy fused with the output projection, a block of rows at a time: the logits of a whole batch never exist.
// Used by decoder.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include "agents/engine/train/decoder/products.h"

namespace slipway::train {

// hidden [m, h] in the compute type, targets [m] int64. Returns log p(target), natural logarithm, [m] f32 on the CPU.
// softcap 0: none; else logits become softcap · tanh(logit / softcap). scratch: where the logits lie, the caller's to
// keep from batch to batch, so that nothing else settles in their place and memory grows by it.
at::Tensor target_log_probabilities(const Compute& compute, const at::Tensor& hidden, const ProductWeight& weight,
                                    const at::Tensor& targets, double softcap, at::Tensor& scratch);

// The same, and the gradient of the sum of -weights · log p: d/d(hidden) in the compute type as `gradient`;
// weight_gradient (f32, may be undefined) has its own added. weights [m] f32.
at::Tensor output_loss(const Compute& compute, const at::Tensor& hidden, const ProductWeight& weight,
                       const at::Tensor& targets, const at::Tensor& weights, double softcap, at::Tensor& gradient,
                       at::Tensor weight_gradient, at::Tensor& scratch);

}  // namespace slipway::train
