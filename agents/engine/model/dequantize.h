// Storage types of weights: sizes, and the way back to f32. Used by the readers here and by runtime/ when it loads.
// Block layouts: https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "agents/engine/model/weights.h"

namespace slipway::model {

// Elements that are stored together: 1 for plain types, 32 or 256 for quantised ones; and the bytes of one such block.
int64_t block_elements(DType dtype);
int64_t block_bytes(DType dtype);

// Bytes of a tensor of this shape; nothing when a dimension is negative or the product overflows.
std::optional<uint64_t> checked_bytes(DType dtype, const std::vector<int64_t>& shape);

// Writes out.size() elements as f32. `data` must hold exactly that many elements of a floating or quantised type; else
// base::Error INVALID_MODEL. The results are bit for bit those of ggml's dequantize_row_*.
void dequantize(DType dtype, std::span<const std::byte> data, std::span<float> out);

inline float bf16_to_f32(uint16_t value) { return std::bit_cast<float>(static_cast<uint32_t>(value) << 16U); }

// Round to nearest even; NaN stays NaN.
inline uint16_t f32_to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffU) > 0x7f800000U) return static_cast<uint16_t>((bits >> 16U) | 0x40U);
  return static_cast<uint16_t>((bits + 0x7fffU + ((bits >> 16U) & 1U)) >> 16U);
}

inline float f16_to_f32(uint16_t value) {
  const uint32_t sign = static_cast<uint32_t>(value & 0x8000U) << 16U;
  const uint32_t exponent = (value >> 10U) & 0x1fU;
  const uint32_t mantissa = value & 0x3ffU;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000U | (mantissa << 13U));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112U) << 23U) | (mantissa << 13U));
  // Subnormal: mantissa × 2^-24.
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
  return sign != 0 ? -magnitude : magnitude;
}

// Round to nearest even; what is too large becomes infinite, NaN stays NaN.
inline uint16_t f32_to_f16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16U) & 0x8000U);
  const uint32_t magnitude = bits & 0x7fffffffU;
  if (magnitude > 0x7f800000U) return sign | 0x7e00U;
  if (magnitude >= 0x477ff000U) return sign | 0x7c00U;  // from 65,520 on
  if (magnitude < 0x38800000U) {                        // below 2^-14: a multiple of 2^-24, as floats from 0.5 on are
    const float rounded = std::bit_cast<float>(magnitude) + 0.5F;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(rounded) - std::bit_cast<uint32_t>(0.5F)));
  }
  return static_cast<uint16_t>(sign | ((magnitude + 0xfffU + ((magnitude >> 13U) & 1U) - 0x38000000U) >> 13U));
}

}  // namespace slipway::model
