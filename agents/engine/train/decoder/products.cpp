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

Product panel_product(const Compute& compute, const at::Tensor& left, const Weight& right) {
  Product product;
  product.left = left.data_ptr();
  product.left_row_stride = left.stride(0);
  product.right = right.panels(compute).data_ptr();
  product.k = left.size(1);
  product.panel_stride = panel_elements(compute.type, product.k);
  return product;
}

ProductOutput output_to(const Compute& compute, const at::Tensor& y, const at::Tensor& bias, bool add) {
  ProductOutput output;
  output.data = y.data_ptr();
  output.stride = y.stride(0);
  output.is_f32 = add || compute.type == at::kFloat;
  output.add = add;
  output.bias = bias.defined() ? bias.data_ptr<float>() : nullptr;
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
  if (!portable && device.is_cpu()) {
    if (type == at::kBFloat16) compute.kernels = cpu_kernels_bf16();
  }
  return compute;
}

void Weight::assign(at::Tensor rows) {
  rows_ = std::move(rows);
  packed_ = false;
}

const at::Tensor& Weight::panels(const Compute& compute) const {
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

namespace {

void forward(const Compute& compute, const at::Tensor& x, const Weight& weight, const at::Tensor& bias,
             const Delta& delta, at::Tensor y, bool add) {
  if (compute.kernels == nullptr || !add) {
    at::Tensor result = at::linear(x, weight.rows());
    if (bias.defined()) result.add_(bias);
    if (delta.left.defined()) result.addmm_(delta.left, delta.right->rows().t());
    add ? y.add_(result) : y.copy_(result);
    return;
  }
  Product products[2] = {panel_product(compute, x, weight), {}};
  int count = 1;
  if (delta.left.defined()) products[count++] = panel_product(compute, delta.left, *delta.right);
  multiply(compute, products, count, output_to(compute, y, bias, add), x.size(0), weight.rows().size(0));
}

}  // namespace

void forward_product(const Compute& compute, const at::Tensor& x, const Weight& weight, const at::Tensor& bias,
                     const Delta& delta, at::Tensor y) {
  forward(compute, x, weight, bias, delta, std::move(y), false);
}

void add_forward_product(const Compute& compute, const at::Tensor& x, const Weight& weight, const at::Tensor& bias,
                         const Delta& delta, at::Tensor y) {
  forward(compute, x, weight, bias, delta, std::move(y), true);
}

at::Tensor input_gradient(const Compute& compute, const at::Tensor& dy, const at::Tensor& weight_rows,
                          const at::Tensor& delta_left, const at::Tensor& delta_rows) {
  (void)compute;
  at::Tensor dx = dy.mm(weight_rows);
  if (delta_left.defined()) dx.addmm_(delta_left, delta_rows);
  return dx;
}

at::Tensor product_of_rows(const Compute& compute, const at::Tensor& x, const at::Tensor& rows) {
  return input_gradient(compute, x, rows, {}, {});
}

void add_outer(const Compute& compute, at::Tensor target, const at::Tensor& left, const at::Tensor& right,
               double scale) {
  const int64_t m = left.size(1), n = right.size(1), k = left.size(0);
  if (compute.kernels == nullptr) {
    if (left.scalar_type() == at::kFloat) {
      target.addmm_(left.t(), right, 1.0, scale);
    } else {
      target.add_(left.t().mm(right), scale);
    }
    return;
  }
  Product product;
  product.left = left.data_ptr();
  product.left_row_stride = 1;
  product.left_k_stride = left.stride(0);
  at::Tensor interleaved;
  if (compute.type == at::kBFloat16) {
    interleaved = at::empty({(k + 1) / 2 * 2 * m}, left.options());
    const int64_t element = left.element_size();
    at::parallel_for(0, (k + 1) / 2, 16, [&](int64_t begin, int64_t end) {
      compute.kernels->interleave(bytes_of(left) + begin * 2 * left.stride(0) * element, left.stride(0),
                                  std::min(end * 2, k) - begin * 2, m,
                                  static_cast<std::byte*>(interleaved.data_ptr()) + begin * 2 * m * element, m);
    });
    product.left = interleaved.data_ptr();
    product.left_row_stride = 2;
    product.left_k_stride = m;
  }
  product.right = right.data_ptr();
  product.right_side = RightSide::kRows;
  product.right_stride = right.stride(0);
  product.k = k;
  ProductOutput output = output_to(compute, target, {}, true);
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
