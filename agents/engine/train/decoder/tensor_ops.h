// The decoder's small operations with their gradients, on whatever device the tensors are. Used by decoder.cpp and
// decoder_layer.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "agents/engine/model/architecture.h"
#include "agents/engine/train/decoder/compute.h"

namespace slipway::train {

// 0 with probability p, else 1/(1-p); the same for the same seed.
at::Tensor dropout_mask(at::IntArrayRef shape, double p, uint64_t seed, at::Device device);

// f32 -> the compute type.
at::Tensor narrowed(const Compute& compute, const at::Tensor& x);

// x [n, h] f32 -> x / rms(x) · weight in the compute type; inverse_rms [n, 1] f32 for backward.
at::Tensor rms_norm(const Compute& compute, const at::Tensor& x, const at::Tensor& weight, double epsilon,
                    at::Tensor& inverse_rms);
// x · inverse_rms · weight again, from what forward kept.
at::Tensor rms_norm_again(const Compute& compute, const at::Tensor& x, const at::Tensor& weight,
                          const at::Tensor& inverse_rms);
// dx (f32) += the gradient through the norm; weight_gradient (f32, may be undefined) += its own.
void rms_norm_backward(const Compute& compute, const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                       const at::Tensor& inverse_rms, at::Tensor& dx, at::Tensor weight_gradient);

// Rotates the first `heads` heads of x [n, all heads, d] in place by cosine and sine [n, half], the first half of a
// head's 2 · half first elements paired with the second, as Hugging Face's rotate_half. backward: by the opposite
// angle.
void rotate(const Compute& compute, at::Tensor x, int64_t heads, const at::Tensor& cosine, const at::Tensor& sine,
            bool backward);

// gate_up [n, 2 · width] -> activation(gate) · up [n, width], and its gradient.
at::Tensor gated(const Compute& compute, model::Activation activation, const at::Tensor& gate_up);
at::Tensor gated_backward(const Compute& compute, model::Activation activation, const at::Tensor& dactivated,
                          const at::Tensor& gate_up);

// The activation alone, and its gradient.
at::Tensor activated(model::Activation activation, const at::Tensor& x);
at::Tensor activated_backward(model::Activation activation, const at::Tensor& dactivated, const at::Tensor& x);

}  // namespace slipway::train
