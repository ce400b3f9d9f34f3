// A weight matrix in the format that the kernels read. Filled once while loading, then read by all worker threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "agents/engine/kernels/kernels.h"

namespace slipway::runtime {

// Memory in whole pages, zeroed and not backed before it is first touched.
class Pages {
 public:
  Pages() = default;
  explicit Pages(size_t bytes);  // throws std::bad_alloc
  // Asks for large pages, which save the page walks of reading all weights once per token.
  void prefer_large() const;
  Pages(Pages&& other) noexcept;
  Pages& operator=(Pages&& other) noexcept;
  ~Pages();

  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t size() const { return size_; }

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

// [rows, columns]: rows of the weight are columns of its product. Lies in panels of kernels::kPanel rows.
class Matrix {
 public:
  Matrix() = default;
  Matrix(int64_t rows, int64_t columns, kernels::WeightFormat format);
  // One that lies elsewhere: panels() × panel_bytes() at `data`, aligned to 64, for as long as `owner` is there. What
  // is given as const is packed already and must not be set.
  Matrix(int64_t rows, int64_t columns, kernels::WeightFormat format, std::shared_ptr<const void> owner,
         const std::byte* data);
  Matrix(int64_t rows, int64_t columns, kernels::WeightFormat format, std::shared_ptr<const void> owner,
         std::byte* data);

  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }
  kernels::WeightFormat format() const { return format_; }
  const std::byte* data() const { return data_; }
  int64_t panels() const { return (rows_ + kernels::kPanel - 1) / kernels::kPanel; }
  int64_t panel_bytes() const { return kernels::panel_bytes(format_, columns_); }

  // Stores the rows of one panel (fewer in the last), rounding where the format asks for it. Different panels may be
  // set by different threads at once. False: the rows cannot be kept as kBF12.
  bool set_panel(int64_t index, std::span<const float> values, const kernels::Table& table);
  // Gives back the memory of one that lies elsewhere and is not to be read again.
  void release() const;
  std::byte* panel(int64_t index) { return writable_ + index * panel_bytes(); }
  // One row as f32.
  void read_row(int64_t row, float* out) const;

 private:
  int64_t rows_ = 0, columns_ = 0;
  kernels::WeightFormat format_ = kernels::WeightFormat::kF32;
  std::shared_ptr<const void> owner_;  // of the memory
  const std::byte* data_ = nullptr;
  std::byte* writable_ = nullptr;  // the same; null when it must not be set
};

}  // namespace slipway::runtime
