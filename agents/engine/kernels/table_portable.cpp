// The kernels in plain C++, for machines without AVX2 and as the reference of the others.
#include <cmath>

#include "agents/engine/kernels/table_impl.h"
#include "agents/engine/kernels/tables.h"

namespace slipway::kernels {
namespace {

struct Portable {
  static constexpr int kLanes = 4;
  static constexpr int kColumns = 2;
  static constexpr int kColumnsOfOneRow = 4;
  struct Register {
    float lane[kLanes];
  };

  template <typename F>
  static Register make(F f) {
    Register r;
    for (int i = 0; i < kLanes; ++i) r.lane[i] = f(i);
    return r;
  }
  static float wide(float value) { return value; }
  static float wide(uint16_t value) {
    const uint32_t bits = static_cast<uint32_t>(value) << 16U;
    float result;
    __builtin_memcpy(&result, &bits, sizeof result);
    return result;
  }
  static Register zero() { return all(0); }
  static Register all(float value) {
    return make([&](int) { return value; });
  }
  template <typename T>
  static Register load(const T* p) {
    return make([&](int i) { return wide(p[i]); });
  }
  template <typename T>
  static Register load_part(const T* p, int count) {
    return make([&](int i) { return i < count ? wide(p[i]) : 0.0F; });
  }
  static void store(float* p, Register a) {
    for (int i = 0; i < kLanes; ++i) p[i] = a.lane[i];
  }
  static Register add(Register a, Register b) {
    return make([&](int i) { return a.lane[i] + b.lane[i]; });
  }
  static Register subtract(Register a, Register b) {
    return make([&](int i) { return a.lane[i] - b.lane[i]; });
  }
  static Register multiply(Register a, Register b) {
    return make([&](int i) { return a.lane[i] * b.lane[i]; });
  }
  static Register divide(Register a, Register b) {
    return make([&](int i) { return a.lane[i] / b.lane[i]; });
  }
  static Register multiply_add(Register a, Register b, Register c) {
    return make([&](int i) { return a.lane[i] * b.lane[i] + c.lane[i]; });
  }
  static Register maximum(Register a, Register b) {
    return make([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
  }
  static float sum(Register a) { return (a.lane[0] + a.lane[2]) + (a.lane[1] + a.lane[3]); }
  static Register exp(Register a) {
    return make([&](int i) { return std::exp(a.lane[i]); });
  }
};

}  // namespace

const Table kPortableTable = make_table<Portable>("portable");

}  // namespace slipway::kernels
