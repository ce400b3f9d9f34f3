// The decoder's matrix products: libtorch's, which reach about nine tenths of a CPU's rate, but for those of bf16
// factors whose result must be f32, which it has not: these are our own kernels'. Used by adapted_linear.cpp and
// output_loss.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include "agents/engine/train/decoder/compute.h"

namespace slipway::train {

// The output projection's weight [vocabulary, hidden]: as rows, and as our kernels want it. One thread.
class OutputWeight {
 public:
  OutputWeight() = default;
  // rows in compute.type, contiguous; kept, not copied.
  explicit OutputWeight(at::Tensor rows) { assign(std::move(rows)); }
  // Takes another content.
  void assign(at::Tensor rows);
  // Leaves rows and copy.
  void release();

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
  at::Tensor left, right_rows;  // [n, k] and [out, k]
};

// y [n, out] = x·rowsᵀ + bias (+ left·right_rowsᵀ). All of y's type but the bias, which is f32 or undefined. Views with
// a row stride are fine.
void forward_product(const at::Tensor& x, const at::Tensor& rows, const at::Tensor& bias, const Delta& delta,
                     at::Tensor y);
// The same, added to `y` of f32.
void add_forward_product(const at::Tensor& x, const at::Tensor& rows, const at::Tensor& bias, const Delta& delta,
                         const at::Tensor& y);

// dx [n, in] = dy·rows (+ left·right, whose rows are [k, in]).
at::Tensor input_gradient(const at::Tensor& dy, const at::Tensor& rows, const at::Tensor& delta_left,
                          const at::Tensor& delta_rows);

// scores [n, vocabulary] f32 = x·weightᵀ.
void output_scores(const Compute& compute, const at::Tensor& x, const OutputWeight& weight, at::Tensor scores);

// target (f32 [m, n]) += scale · leftᵀ·right, left [k, m] and right [k, n] in the compute type.
void add_outer(const Compute& compute, at::Tensor target, const at::Tensor& left, const at::Tensor& right,
               double scale);

}  // namespace slipway::train
