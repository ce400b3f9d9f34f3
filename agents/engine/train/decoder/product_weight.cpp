#include "agents/engine/train/decoder/product_weight.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <utility>

#include "agents/engine/train/decoder/tensor_ops.h"

namespace slipway::train {

void ProductWeight::assign(at::Tensor rows) {
  rows_ = std::move(rows);
  transposed_.is_current = plain_.is_current = false;
}

ProductWeight ProductWeight::of_master(const Compute& compute, const at::Tensor& master) {
  if (!compute.own_products) return ProductWeight(narrowed(compute, master));
  ProductWeight weight(master);
  weight.is_master_ = true;
  return weight;
}

void ProductWeight::release() {
  rows_.reset();
  transposed_ = plain_ = {};
}

const at::Tensor& ProductWeight::packed(const Compute& compute, Copy& copy, int64_t k, int64_t columns,
                                        decltype(CpuKernels::pack_rows) pack) const {
  if (copy.is_current) return copy.panels;
  const int64_t panels = panel_count(columns), elements = panels * padded(compute.type, k) * kPanelColumns;
  if (!copy.panels.defined() || copy.panels.numel() != elements) {
    copy.panels = is_master_ ? compute.workspace->take(elements, compute.type)
                             : at::empty({elements}, rows_.options().dtype(compute.type));
  }
  at::parallel_for(0, panels, 1, [&](int64_t begin, int64_t end) {
    pack(rows_.data_ptr(), rows_.stride(0), k, columns, copy.panels.data_ptr(), begin, end);
  });
  copy.is_current = true;
  return copy.panels;
}

const at::Tensor& ProductWeight::panels(const Compute& compute) const {
  return packed(compute, transposed_, rows_.size(1), rows_.size(0), compute.kernels->pack_transposed);
}

const at::Tensor& ProductWeight::row_panels(const Compute& compute) const {
  return packed(compute, plain_, rows_.size(0), rows_.size(1), compute.kernels->pack_rows);
}

}  // namespace slipway::train
