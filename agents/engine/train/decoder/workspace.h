// Main memory for what one call needs in its own time, kept between calls: it leaves no holes among the tensors that
// stay, and is not faulted in again. Used by products.cpp and product_weight.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace slipway::train {

// One thread.
class Workspace {
 public:
  // A new call: what was taken before is no longer used.
  void begin();
  // [elements], until the next begin(); not initialized.
  at::Tensor take(int64_t elements, at::ScalarType type);

 private:
  at::Tensor bytes_;
  int64_t used_ = 0, wanted_ = 0;  // since begin(); what did not fit is wanted, too
};

}  // namespace slipway::train
