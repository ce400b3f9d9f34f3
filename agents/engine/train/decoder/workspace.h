// One piece of main memory for tensors that come and go together, so that they leave no holes among others: what a call
// of products packs for itself, and what a layer keeps for backward. Used by products.cpp, product_weight.cpp and
// decoder_layer.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace slipway::train {

// One thread.
class Workspace {
 public:
  // What was taken before is no longer used. There is room for `bytes`, and for what was wanted the last time.
  void begin(int64_t bytes = 0);
  // [elements], until the next begin(); not initialized. Memory of its own where there is no room.
  at::Tensor take(int64_t elements, at::ScalarType type);

 private:
  at::Tensor bytes_;
  int64_t used_ = 0, wanted_ = 0;  // since begin(); what did not fit is wanted, too
};

}  // namespace slipway::train
