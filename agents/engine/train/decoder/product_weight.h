// A weight as the decoder's matrix products read it: rows, and packed for our own kernels. Used by products.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <utility>

#include "agents/engine/train/cpu/cpu_kernels.h"
#include "agents/engine/train/decoder/compute.h"

namespace slipway::train {

inline int64_t panel_count(int64_t columns) { return (columns + kPanelColumns - 1) / kPanelColumns; }
// Elements that lie together, and a sum's length in whole ones.
inline int64_t pair_of(at::ScalarType type) { return type == at::kBFloat16 ? 2 : 1; }
inline int64_t padded(at::ScalarType type, int64_t k) {
  return (k + pair_of(type) - 1) / pair_of(type) * pair_of(type);
}

// A weight [out, in] of products x·Wᵀ and dy·W: as rows, and as our kernels want it. One thread.
class ProductWeight {
 public:
  ProductWeight() = default;
  // rows in compute.type, each contiguous; kept, not copied.
  explicit ProductWeight(at::Tensor rows) { assign(std::move(rows)); }
  // By an f32 master on a CPU, for one call's products: its copies lie in the workspace.
  static ProductWeight of_master(const Compute& compute, const at::Tensor& master);
  // Takes another content.
  void assign(at::Tensor rows);
  // Leaves rows and copy.
  void release();

  // In the compute type, or the master.
  const at::Tensor& rows() const { return rows_; }
  bool is_master() const { return is_master_; }
  // The packed copies for x·Wᵀ and dy·W, made when they are first asked for. Only with kernels,
  // and not of a master of another type.
  const at::Tensor& panels(const Compute& compute) const;
  const at::Tensor& row_panels(const Compute& compute) const;  // not of a master

 private:
  struct Copy {
    at::Tensor panels;
    bool is_current = false;
  };
  const at::Tensor& packed(const Compute& compute, Copy& copy, int64_t k, int64_t columns,
                           decltype(CpuKernels::pack_rows) pack) const;

  at::Tensor rows_;
  bool is_master_ = false;
  mutable Copy transposed_, plain_;
};

}  // namespace slipway::train
