// The decoder's small operations with their gradients, on whatever device the tensors are. Used by adapted_linear.cpp
// and decoder_layer.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace slipway::train {

// y = x·Wᵀ + b. bias may be undefined.
at::Tensor linear_forward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

// dx = dy·W.
at::Tensor linear_input_gradient(const at::Tensor& dy, const at::Tensor& weight);

// target (f32) += scale · left·right.
void add_product(at::Tensor target, const at::Tensor& left, const at::Tensor& right, double scale);

// 0 with probability p, else 1/(1-p); the same for the same seed.
at::Tensor dropout_mask(at::IntArrayRef shape, double p, uint64_t seed, at::Device device);

// x [n, h] f32 -> x / rms(x) · weight in `type`; inverse_rms [n, 1] f32 for backward.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon, at::ScalarType type,
                    at::Tensor& inverse_rms);
// x · inverse_rms · weight again, from what forward kept.
at::Tensor rms_norm_again(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& inverse_rms,
                          at::ScalarType type);
// dx (f32) += the gradient through the norm; weight_gradient (f32, may be undefined) += its own.
void rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                       const at::Tensor& inverse_rms, at::Tensor& dx, at::Tensor weight_gradient);

// Rotates heads [n, heads, d] in place by cosine and sine [n, 1, d/2], halves paired as Hugging Face's rotate_half.
// Backward is the same with -sine.
void rotate(at::Tensor heads, const at::Tensor& cosine, const at::Tensor& sine);

}  // namespace slipway::train
