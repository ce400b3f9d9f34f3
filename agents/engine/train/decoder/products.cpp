#include "agents/engine/train/decoder/products.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <utility>

namespace slipway::train {

namespace {

// Rows of the left side that one thread takes at least: whole tiles.
constexpr int64_t kRowsPerShare = 48;
constexpr int64_t kColumnsPerShare = 2 * kPanelColumns;

const std::byte* bytes_of(const at::Tensor& tensor) { return static_cast<const std::byte*>(tensor.data_ptr()); }

int64_t panel_count(int64_t columns) { return (columns + kPanelColumns - 1) / kPanelColumns; }

// Elements of one panel of k steps.
int64_t panel_elements(at::ScalarType type, int64_t k) {
  const int64_t pair = type == at::kBFloat16 ? 2 : 1;
  return (k + pair - 1) / pair * pair * kPanelColumns;
}

ProductOutput f32_output(const at::Tensor& y, bool add) {
  ProductOutput output;
  output.data = y.data_ptr();
  output.stride = y.stride(0);
  output.is_f32 = true;
  output.add = add;
  return output;
}

void multiply(const Compute& compute, const Product* products, int count, const ProductOutput& output, int64_t rows,
              int64_t columns) {
  at::parallel_for(0, (rows + 11) / 12, kRowsPerShare / 12, [&](int64_t begin, int64_t end) {
    compute.kernels->multiply(products, count, output, begin * 12, std::min(end * 12, rows), columns);
  });
}

}  // namespace

Compute make_compute(at::Device device, at::ScalarType type, bool portable) {
  Compute compute{device, type, nullptr};
  if (portable || !device.is_cpu()) return compute;
  if (type == at::kBFloat16) compute.kernels = cpu_kernels_bf16();
  if (type == at::kFloat) compute.kernels = cpu_kernels_f32();
  return compute;
}

void OutputWeight::assign(at::Tensor rows) {
  rows_ = std::move(rows);
  packed_ = false;
}

void OutputWeight::release() {
  rows_.reset();
  panels_.reset();
  packed_ = false;
}

const at::Tensor& OutputWeight::panels(const Compute& compute) const {
  if (packed_) return panels_;
  const int64_t columns = rows_.size(0), k = rows_.size(1), panels = panel_count(columns);
  const int64_t elements = panels * panel_elements(compute.type, k);
  if (!panels_.defined() || panels_.numel() != elements) panels_ = at::empty({elements}, rows_.options());
  at::parallel_for(0, panels, 1, [&](int64_t begin, int64_t end) {
    compute.kernels->pack_transposed(rows_.data_ptr(), rows_.stride(0), k, columns, panels_.data_ptr(), begin, end);
  });
  packed_ = true;
  return panels_;
}

void forward_product(const at::Tensor& x, const at::Tensor& rows, const at::Tensor& bias, const Delta& delta,
                     at::Tensor y) {
  at::mm_out(y, x, rows.t());
  if (bias.defined()) y.add_(bias);
  if (delta.left.defined()) y.addmm_(delta.left, delta.right_rows.t());
}

void add_forward_product(const at::Tensor& x, const at::Tensor& rows, const at::Tensor& bias, const Delta& delta,
                         const at::Tensor& y) {
  if (x.scalar_type() == at::kFloat) {
    y.addmm_(x, rows.t());
    if (bias.defined()) y.add_(bias);
    if (delta.left.defined()) y.addmm_(delta.left, delta.right_rows.t());
    return;
  }
  const at::Tensor result = at::empty({x.size(0), rows.size(0)}, x.options());
  forward_product(x, rows, bias, delta, result);
  y.add_(result);
}

at::Tensor input_gradient(const at::Tensor& dy, const at::Tensor& rows, const at::Tensor& delta_left,
                          const at::Tensor& delta_rows) {
  at::Tensor dx = dy.mm(rows);
  if (delta_left.defined()) dx.addmm_(delta_left, delta_rows);
  return dx;
}

void output_scores(const Compute& compute, const at::Tensor& x, const OutputWeight& weight, at::Tensor scores) {
  if (x.scalar_type() == at::kFloat) {
    at::mm_out(scores, x, weight.rows().t());
    return;
  }
  if (compute.kernels == nullptr) {
    scores.copy_(at::linear(x, weight.rows()));
    return;
  }
  Product product;
  product.left = x.data_ptr();
  product.left_row_stride = x.stride(0);
  product.right = weight.panels(compute).data_ptr();
  product.k = x.size(1);
  product.panel_stride = panel_elements(compute.type, product.k);
  multiply(compute, &product, 1, f32_output(scores, false), x.size(0), weight.rows().size(0));
}

void add_outer(const Compute& compute, at::Tensor target, const at::Tensor& left, const at::Tensor& right,
               double scale) {
  const int64_t m = left.size(1), n = right.size(1), k = left.size(0);
  if (compute.type == at::kFloat) {
    target.addmm_(left.t(), right, 1.0, scale);
    return;
  }
  if (compute.kernels == nullptr) {
    target.add_(left.t().mm(right), scale);
    return;
  }
  Product product;
  const at::Tensor interleaved = at::empty({(k + 1) / 2 * 2 * m}, left.options());
  const int64_t element = left.element_size();
  at::parallel_for(0, (k + 1) / 2, 16, [&](int64_t begin, int64_t end) {
    compute.kernels->interleave(bytes_of(left) + begin * 2 * left.stride(0) * element, left.stride(0),
                                std::min(end * 2, k) - begin * 2, m,
                                static_cast<std::byte*>(interleaved.data_ptr()) + begin * 2 * m * element, m);
  });
  product.left = interleaved.data_ptr();
  product.left_row_stride = 2;
  product.left_k_stride = m;
  product.right = right.data_ptr();
  product.right_side = RightSide::kRows;
  product.right_stride = right.stride(0);
  product.k = k;
  ProductOutput output = f32_output(target, true);
  output.scale = static_cast<float>(scale);
  if (m >= 2 * kRowsPerShare) {
    multiply(compute, &product, 1, output, m, n);
    return;
  }
  // Few rows (a low rank): the columns are shared out.
  at::parallel_for(0, (n + kColumnsPerShare - 1) / kColumnsPerShare, 1, [&](int64_t begin, int64_t end) {
    Product part = product;
    ProductOutput part_output = output;
    const int64_t first = begin * kColumnsPerShare, last = std::min(end * kColumnsPerShare, n);
    part.right = bytes_of(right) + first * right.element_size();
    part_output.data = target.data_ptr<float>() + first;
    compute.kernels->multiply(&part, 1, part_output, 0, m, last - first);
  });
}

}  // namespace slipway::train
