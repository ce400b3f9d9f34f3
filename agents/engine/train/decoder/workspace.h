// One piece of main memory for tensors that come and go together: what a call of products packs for itself, and what
// all layers keep for backward. On the heap, where batches differ a little in size, they would leave holes that the
// next batch does not fit in. Used by products.cpp, product_weight.cpp and decoder.cpp.
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
  // Gives the memory back, once no tensor lies in it.
  void release() { *this = {}; }

 private:
  at::Tensor bytes_;
  int64_t used_ = 0, wanted_ = 0;  // since begin(); what did not fit is wanted, too
};

}  // namespace slipway::train
