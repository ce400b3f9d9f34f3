#include "agents/engine/runtime/matrix.h"

#include <sys/mman.h>

#include <cstring>
#include <new>
#include <utility>

#include "agents/engine/model/dequantize.h"

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

Matrix::Matrix(int64_t rows, int64_t columns, kernels::WeightFormat format)
    : rows_(rows),
      columns_(columns),
      format_(format),
      pages_(static_cast<size_t>(rows) * static_cast<size_t>(columns) *
             (format == kernels::WeightFormat::kF32 ? sizeof(float) : sizeof(uint16_t))) {
  // Large pages save the page walks of reading every weight once per token.
  if (pages_.size() >= (size_t{4} << 20U)) madvise(pages_.as<void>(), pages_.size(), MADV_HUGEPAGE);
}

void Matrix::set_rows(int64_t first, std::span<const float> values) {
  const auto offset = static_cast<size_t>(first * columns_);
  if (format_ == kernels::WeightFormat::kF32) {
    if (!values.empty()) std::memcpy(pages_.as<float>() + offset, values.data(), values.size_bytes());
    return;
  }
  uint16_t* out = pages_.as<uint16_t>() + offset;
  for (size_t i = 0; i < values.size(); ++i) out[i] = model::f32_to_bf16(values[i]);
}

void Matrix::read_row(int64_t row, float* out) const {
  const auto offset = static_cast<size_t>(row * columns_);
  if (format_ == kernels::WeightFormat::kF32) {
    std::memcpy(out, pages_.as<float>() + offset, static_cast<size_t>(columns_) * sizeof(float));
    return;
  }
  const uint16_t* in = pages_.as<uint16_t>() + offset;
  for (int64_t i = 0; i < columns_; ++i) out[i] = model::bf16_to_f32(in[i]);
}

}  // namespace slipway::runtime
