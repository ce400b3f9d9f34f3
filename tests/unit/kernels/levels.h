// Tests that run on every level that this machine has.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "agents/engine/kernels/kernels.h"
#include "tests/unit/runtime/tiny_model.h"

namespace slipway::kernels {

using runtime::random_values;

class Kernels : public testing::TestWithParam<Level> {
 protected:
  void SetUp() override {
    table_ = table(GetParam());
    if (table_ == nullptr) GTEST_SKIP() << "this machine does not have it";
  }
  const Table* table_ = nullptr;
};

inline std::string level_name(const testing::TestParamInfo<Level>& level) {
  return std::string("level") + std::to_string(static_cast<int>(level.param));
}

// Bytes at an address that is a multiple of 64.
class Aligned {
 public:
  explicit Aligned(int64_t size) : bytes_(static_cast<size_t>(size) + 64) {}
  template <typename T = void>
  T* data() {
    const auto address = reinterpret_cast<uintptr_t>(bytes_.data());
    return reinterpret_cast<T*>((address + 63) / 64 * 64);
  }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace slipway::kernels
