// The decoder's matrix products: libtorch's, which are the faster ones, but for those whose result is f32 from bf16
// factors, which it has not: these are our own kernels' where Compute has them. Used by adapted_linear.cpp and
// output_loss.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include "agents/engine/train/decoder/compute.h"

namespace slipway::train {

// A weight [out, in] in the layouts that its products want. One thread.
class Weight {
 public:
  Weight() = default;
  // rows in compute.type, contiguous; kept, not copied.
  explicit Weight(at::Tensor rows) { assign(std::move(rows)); }
  // Takes another content.
  void assign(at::Tensor rows);

  const at::Tensor& rows() const { return rows_; }
  // The packed copy, made when it is first asked for. Only with kernels.
  const at::Tensor& panels(const Compute& compute) const;

 private:
  at::Tensor rows_;
  mutable at::Tensor panels_;
  mutable bool packed_ = false;
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
