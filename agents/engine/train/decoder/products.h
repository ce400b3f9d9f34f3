// The decoder's matrix products. Our own kernels' where they beat libtorch's: weights are packed once, several products
// of one input are one call, and what is added (a bias, a low-rank delta, the residual stream) is added before the sums
// leave their registers. Used by adapted_linear.cpp and output_loss.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "agents/engine/train/decoder/product_weight.h"

namespace slipway::train {

// A second pair of factors whose product is added: low-rank deltas. Nothing when left is undefined.
struct Delta {
  at::Tensor left;                       // [n, k]
  const ProductWeight* right = nullptr;  // [out, k] in forward products, [k, in] in gradients
};

// y [n, out] = x·weightᵀ + bias (+ left·rightᵀ) (+ added). y in the compute type; bias f32 or undefined. Views with a
// row stride are fine. `added` is f32 as y is then, lies as y does, and may be y itself.
struct ForwardPart {
  const ProductWeight* weight;
  at::Tensor y;
  at::Tensor bias = {};
  Delta delta = {};
  at::Tensor added = {};
};
// All parts of one input x [n, in]. What one writes may be a later one's left factor.
void forward_products(const Compute& compute, const at::Tensor& x, const std::vector<ForwardPart>& parts);

// dx [n, in] = dy·weight (+ left·right), all in the compute type. What one part writes may be a later one's left
// factor.
struct GradientPart {
  at::Tensor dy;
  const ProductWeight* weight;
  at::Tensor dx;
  Delta delta = {};
};
void input_gradients(const Compute& compute, const std::vector<GradientPart>& parts);

// scores [n, vocabulary] f32 = x·weightᵀ.
void output_scores(const Compute& compute, const at::Tensor& x, const ProductWeight& weight, at::Tensor scores);

// dx [n, hidden] = dscores [n, vocabulary]·weight, both in the compute type: sums over a vocabulary.
void output_gradient(const Compute& compute, const at::Tensor& dscores, const ProductWeight& weight, at::Tensor dx);

// target (f32 [m, n]) += scale · leftᵀ·right, left [k, m] and right [k, n] in the compute type.
void add_outer(const Compute& compute, at::Tensor target, const at::Tensor& left, const at::Tensor& right,
               double scale);

}  // namespace slipway::train
