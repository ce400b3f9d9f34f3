#include "agents/engine/train/decoder/workspace.h"

#include <ATen/ATen.h>
#include <sys/mman.h>

#include <algorithm>

namespace slipway::train {

namespace {

// From the kernel, to which it goes back when it is freed.
at::Tensor mapped(int64_t bytes) {
  const auto size = static_cast<size_t>(bytes);
  void* const data =
      size == 0 ? MAP_FAILED
                : mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) return at::empty({bytes}, at::kByte);
  return at::from_blob(
      data, {bytes}, [size](void* memory) { munmap(memory, size); }, at::kByte);
}

}  // namespace

void Workspace::begin(int64_t bytes) {
  const int64_t most = std::max(bytes, wanted_);
  if (!bytes_.defined() || bytes_.numel() < most) {
    bytes_.reset();
    bytes_ = mapped(most + most / 4);  // what is not touched costs nothing
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
