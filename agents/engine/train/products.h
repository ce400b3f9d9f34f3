// The decoder's matrix products. Where Compute has kernels weights are packed once, when they change; elsewhere these
// are libtorch's. Used by adapted_linear.cpp and output_loss.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include "agents/engine/train/compute.h"

namespace slipway::train {

// A weight [out, in] in the layouts that its products want.
class Weight {
 public:
  Weight() = default;
  // rows in compute.type, contiguous; kept, not copied.
  Weight(const Compute& compute, at::Tensor rows) { assign(compute, std::move(rows)); }
  // Takes another content; the packed copy is made again in its place.
  void assign(const Compute& compute, at::Tensor rows);

  const at::Tensor& rows() const { return rows_; }
  const at::Tensor& panels() const { return panels_; }  // undefined without kernels

 private:
  at::Tensor rows_, panels_;
};

// A second pair of factors whose product is added: low-rank deltas. Nothing when left is undefined.
struct Delta {
  at::Tensor left;
  const Weight* right = nullptr;
};

// y [n, out] = x·Wᵀ + b (+ left·rightᵀ), into `y` of the compute type. bias f32 or undefined. Views with a row stride
// are fine.
void forward_product(const Compute& compute, const at::Tensor& x, const Weight& weight, const at::Tensor& bias,
                     const Delta& delta, at::Tensor y);
// The same, added to `y` of f32.
void add_forward_product(const Compute& compute, const at::Tensor& x, const Weight& weight, const at::Tensor& bias,
                         const Delta& delta, at::Tensor y);

// dx [n, in] = dy·W (+ left·right, whose rows are [k, in]), in the compute type.
at::Tensor input_gradient(const Compute& compute, const at::Tensor& dy, const at::Tensor& weight_rows,
                          const at::Tensor& delta_left, const at::Tensor& delta_rows);

// y [n, m] = x·rows, rows [k, m], in the compute type.
at::Tensor product_of_rows(const Compute& compute, const at::Tensor& x, const at::Tensor& rows);

// target (f32 [m, n]) += scale · leftᵀ·right, left [k, m] and right [k, n] in the compute type.
void add_outer(const Compute& compute, at::Tensor target, const at::Tensor& left, const at::Tensor& right,
               double scale);

}  // namespace slipway::train
