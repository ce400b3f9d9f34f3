// Floats as bits, and rounded to bf16. Included by the levels' files alone; see impl_elementwise.h.
#pragma once

#include <cstdint>

namespace slipway::kernels {
namespace {

inline uint32_t bits_of(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline float float_of(uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

// Round to nearest even; NaN stays NaN.
inline uint16_t to_bf16(float value) {
  const uint32_t bits = bits_of(value);
  const uint32_t rounded = (bits + 0x7fffU + ((bits >> 16U) & 1U)) >> 16U;
  const uint32_t not_a_number = (bits >> 16U) | 0x40U;
  return static_cast<uint16_t>((bits & 0x7fffffffU) > 0x7f800000U ? not_a_number : rounded);
}

// The largest |x|; not a number when one of them is none, which no comparison of floats would give.
inline float largest_magnitude(const float* x, int64_t size) {
  int32_t most = 0;
  for (int64_t i = 0; i < size; ++i) {
    const auto bits = static_cast<int32_t>(bits_of(x[i]) & 0x7fffffffU);
    most = bits > most ? bits : most;
  }
  return float_of(static_cast<uint32_t>(most));
}

}  // namespace
}  // namespace slipway::kernels
