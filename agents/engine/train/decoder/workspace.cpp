#include "agents/engine/train/decoder/workspace.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace slipway::train {

void Workspace::begin(int64_t bytes) {
  const int64_t most = std::max(bytes, wanted_);
  if (!bytes_.defined() || bytes_.numel() < most) {
    bytes_.reset();
    bytes_ = at::empty({most}, at::kByte);
  }
  used_ = wanted_ = 0;
}

at::Tensor Workspace::take(int64_t elements, at::ScalarType type) {
  constexpr int64_t kLine = 64;
  const int64_t size = elements * static_cast<int64_t>(c10::elementSize(type));
  const int64_t padded = (size + kLine - 1) / kLine * kLine;
  wanted_ += padded;
  if (!bytes_.defined() || used_ + padded > bytes_.numel()) return at::empty({elements}, type);
  const at::Tensor taken = bytes_.narrow(0, used_, size).view(type);
  used_ += padded;
  return taken;
}

}  // namespace slipway::train
