#include "agents/engine/train/checkpoints/tensor_stream.h"

#include <algorithm>
#include <cstring>

namespace slipway::train {

void TensorStream::read(std::span<std::byte> to) {
  const std::lock_guard lock(mutex_);
  while (!to.empty()) {
    std::span<const std::byte>& left = parts_.at(part_).data;
    const size_t size = std::min(left.size(), to.size());
    if (size > 0) std::memcpy(to.data(), left.data(), size);
    left = left.subspan(size);
    to = to.subspan(size);
    if (left.empty()) ++part_;
  }
}

void TensorStream::detach() {
  const std::lock_guard lock(mutex_);
  for (size_t i = part_; i < parts_.size(); ++i) {
    Part& part = parts_[i];
    if (!part.changes || part.data.empty()) continue;
    copies_.push_back(std::make_unique_for_overwrite<std::byte[]>(part.data.size()));
    std::memcpy(copies_.back().get(), part.data.data(), part.data.size());
    part = {{copies_.back().get(), part.data.size()}, false};
  }
}

}  // namespace slipway::train
