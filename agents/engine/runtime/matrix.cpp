#include "agents/engine/runtime/matrix.h"

#include <sys/mman.h>

#include <cstring>
#include <new>
#include <utility>

namespace slipway::runtime {

Pages::Pages(size_t bytes) : size_(bytes) {
  if (bytes == 0) return;
  void* mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  data_ = mapped;
}

Pages::Pages(Pages&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

Pages& Pages::operator=(Pages&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

Pages::~Pages() {
  if (data_ != nullptr) munmap(data_, size_);
}

void Pages::prefer_large() const {
  if (size_ >= (size_t{4} << 20U)) madvise(data_, size_, MADV_HUGEPAGE);
}

Matrix::Matrix(int64_t rows, int64_t columns, kernels::WeightFormat format)
    : rows_(rows), columns_(columns), format_(format) {
  const auto pages = std::make_shared<Pages>(static_cast<size_t>(panels() * panel_bytes()));
  data_ = writable_ = pages->as<std::byte>();
  owner_ = pages;
}

Matrix::Matrix(int64_t rows, int64_t columns, kernels::WeightFormat format, std::shared_ptr<const void> owner,
               const std::byte* data)
    : rows_(rows), columns_(columns), format_(format), owner_(std::move(owner)), data_(data) {}

Matrix::Matrix(int64_t rows, int64_t columns, kernels::WeightFormat format, std::shared_ptr<const void> owner,
               std::byte* data)
    : rows_(rows), columns_(columns), format_(format), owner_(std::move(owner)), data_(data), writable_(data) {}

bool Matrix::set_panel(int64_t index, std::span<const float> values, const kernels::Table& table) {
  std::byte* out = panel(index);
  if (format_ == kernels::WeightFormat::kF32) {
    if (!values.empty()) std::memcpy(out, values.data(), values.size_bytes());
    return true;
  }
  const int64_t count = columns_ == 0 ? 0 : static_cast<int64_t>(values.size()) / columns_;
  return table.pack_panel(format_, values.data(), count, columns_, out);
}

void Matrix::release() const {
  // Whole pages within it alone: its neighbours lie beside it.
  constexpr uintptr_t kPage = 4096;
  const auto begin = (reinterpret_cast<uintptr_t>(writable_) + kPage - 1) / kPage * kPage;
  const auto end = reinterpret_cast<uintptr_t>(writable_ + panels() * panel_bytes()) / kPage * kPage;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

void Matrix::read_row(int64_t row, float* out) const {
  const std::byte* panel = data_ + row / kernels::kPanel * panel_bytes();
  const int64_t lane = row % kernels::kPanel;
  if (format_ == kernels::WeightFormat::kF32) {
    const auto bytes = static_cast<size_t>(columns_) * sizeof(float);
    std::memcpy(out, panel + static_cast<size_t>(lane) * bytes, bytes);
    return;
  }
  kernels::unpack_column(format_, panel, lane, columns_, out);
}

}  // namespace slipway::runtime
