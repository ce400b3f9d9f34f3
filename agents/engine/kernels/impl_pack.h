// Packing of weights, activations and cached tokens (layout.h), in plain loops that the compiler makes vectors of.
// Included by the levels' files alone; see impl_elementwise.h.
#pragma once

#include <cstdint>

#include "agents/engine/kernels/impl_bf12.h"
#include "agents/engine/kernels/impl_bits.h"
#include "agents/engine/kernels/int4_block.h"
#include "agents/engine/kernels/kernels.h"

namespace slipway::kernels {
namespace {

// To the nearest whole number, for |value| below 2^22.
inline int32_t to_nearest(float value) {
  constexpr float kMagic = 12582912.0F;  // 1.5 × 2^23: the sum's lowest bits are the rounded value
  return static_cast<int32_t>(bits_of(value + kMagic)) - static_cast<int32_t>(bits_of(kMagic));
}

// One block of numbers as signed bytes with a scale.
inline BlockScale quantize(const float* x, int64_t size, int8_t* out) {
  const float most = largest_magnitude(x, size);
  const float inverse = most > 0 ? 127.0F / most : 0.0F;
  int32_t sum = 0;
  for (int64_t i = 0; i < size; ++i) {
    const int32_t value = to_nearest(x[i] * inverse);
    out[i] = static_cast<int8_t>(value);
    sum += static_cast<int8_t>(value);
  }
  return {most / 127.0F, -128 * sum};
}

template <int64_t BLOCK>
inline void quantize_part(const PackCall& call) {
  auto* bytes = static_cast<int8_t*>(call.out);
  auto* scales = reinterpret_cast<BlockScale*>(bytes + round_up(call.depth, BLOCK));
  for (int64_t begin = 0; begin < call.count; begin += BLOCK) {
    const float* from = call.x + begin;
    float part[BLOCK];
    if (call.count - begin < BLOCK) {
      for (int64_t i = 0; i < BLOCK; ++i) part[i] = begin + i < call.count ? from[i] : 0.0F;
      from = part;
    }
    const int64_t at = call.first + begin;
    scales[at / BLOCK] = quantize(from, BLOCK, bytes + at);
  }
}

inline void pack_row(const PackCall& call) {
  switch (call.format) {
    case WeightFormat::kBF16:
    case WeightFormat::kBF12: {
      auto* pairs = static_cast<uint16_t*>(call.out) + call.first;
      for (int64_t i = 0; i < call.count; ++i) pairs[i] = to_bf16(call.x[i]);
      if (call.count % 2 != 0) pairs[call.count] = 0;
      break;
    }
    case WeightFormat::kInt8:
      quantize_part<kInt8Block>(call);
      break;
    case WeightFormat::kInt6:
      quantize_part<kInt6Block>(call);
      break;
    case WeightFormat::kInt4:
      quantize_part<kInt4Block>(call);
      break;
    case WeightFormat::kF32:
      break;
  }
}

// BLOCK numbers of a row from `begin` on, in `part` where zeros must pad them. A null row: zeros.
template <int64_t BLOCK>
inline const float* block_of_row(const float* row, int64_t begin, int64_t depth, float (&part)[BLOCK]) {
  if (row != nullptr && depth - begin >= BLOCK) return row + begin;
  for (int64_t i = 0; i < BLOCK; ++i) part[i] = row != nullptr && begin + i < depth ? row[begin + i] : 0.0F;
  return part;
}

// One block of weights as whole numbers q of at most MOST, kept as bytes 128 + STEP · q. The bf16 scale of the bytes.
template <int64_t BLOCK, int32_t MOST, int32_t STEP>
inline uint16_t pack_bytes(const float* values, uint8_t* bytes) {
  const float most = largest_magnitude(values, BLOCK);
  const uint16_t packed = to_bf16(most / static_cast<float>(MOST * STEP));
  const float step = float_of(static_cast<uint32_t>(packed) << 16U) * static_cast<float>(STEP);
  const float inverse = step > 0 ? 1.0F / step : 0.0F;
  for (int64_t i = 0; i < BLOCK; ++i) {
    const int32_t value = to_nearest(values[i] * inverse);  // the scale's rounding may leave MOST + 1
    bytes[i] = static_cast<uint8_t>((value > MOST ? MOST : value < -MOST ? -MOST : value) * STEP + 128);
  }
  return packed;
}

// One row of a panel of kInt8. A null row: zeros.
inline void pack_int8(const float* row, int64_t depth, int64_t lane, uint8_t* panel) {
  const int64_t padded = padded_depth(WeightFormat::kInt8, depth);
  auto* scales = reinterpret_cast<uint16_t*>(panel + kPanel * padded);
  uint8_t* out = panel + lane * 4;
  for (int64_t begin = 0; begin < padded; begin += kInt8Block) {
    float part[kInt8Block];
    uint8_t bytes[kInt8Block];
    scales[begin / kInt8Block * kPanel + lane] =
        pack_bytes<kInt8Block, 127, 1>(block_of_row(row, begin, depth, part), bytes);
    for (int64_t i = 0; i < kInt8Block; i += 4, out += 64) __builtin_memcpy(out, bytes + i, 4);
  }
}

// One row of a panel of kInt6. A null row: zeros.
inline void pack_int6(const float* row, int64_t depth, int64_t lane, uint8_t* panel) {
  for (int64_t block = 0; block * kInt6Block < depth; ++block) {
    float part[kInt6Block];
    uint8_t bytes[kInt6Block];
    const uint16_t scale = pack_bytes<kInt6Block, 31, 4>(block_of_row(row, block * kInt6Block, depth, part), bytes);
    __builtin_memcpy(panel + int6_scales_at(block) + lane * 2, &scale, sizeof scale);
    uint8_t* out = panel + int6_lines_at(block) + lane * 4;
    for (int64_t i = 0; i < kInt6Block; i += 16, out += 3 * 64) {
      for (int64_t j = 0; j < 4; ++j) {
        const uint8_t fourth = bytes[i + 12 + j];
        out[j] = static_cast<uint8_t>(bytes[i + j] | fourth >> 6U);
        out[64 + j] = static_cast<uint8_t>(bytes[i + 4 + j] | (fourth >> 4U & 3U));
        out[128 + j] = static_cast<uint8_t>(bytes[i + 8 + j] | (fourth >> 2U & 3U));
      }
    }
  }
}

// One block of one row of kInt4. The range always holds 0, so that the zero point fits.
inline Int4Block pack_int4_block(const float* values) {
  // In lanes, which the compiler can keep in one vector.
  float lows[16] = {}, highs[16] = {}, low = 0, high = 0;
  for (int64_t i = 0; i < kInt4Block; i += 16) {
    for (int64_t j = 0; j < 16; ++j) {
      lows[j] = values[i + j] < lows[j] ? values[i + j] : lows[j];
      highs[j] = values[i + j] > highs[j] ? values[i + j] : highs[j];
    }
  }
  for (int64_t j = 0; j < 16; ++j) {
    low = lows[j] < low ? lows[j] : low;
    high = highs[j] > high ? highs[j] : high;
  }
  const uint16_t packed = to_bf16((high - low) / (15.0F * 8.0F));  // an eighth of a step
  const float eighth = float_of(static_cast<uint32_t>(packed) << 16U);
  const float inverse = eighth > 0 ? 1.0F / eighth : 0.0F;
  int32_t zero = to_nearest(-low * inverse);
  zero = zero > 120 ? 120 : zero;
  Int4Block block;
  block.scale = packed;
  block.zero = static_cast<uint8_t>(zero);
  const auto shift = static_cast<float>(zero);
  for (int64_t i = 0; i < kInt4Block; ++i) {
    const int32_t value = to_nearest((values[i] * inverse + shift) * 0.125F);
    block.q[i] = static_cast<uint8_t>(value < 0 ? 0 : value > 15 ? 15 : value);
  }
  return block;
}

inline void pack_int4(const float* row, int64_t depth, int64_t lane, uint8_t* panel) {
  const int64_t blocks = padded_depth(WeightFormat::kInt4, depth) / kInt4Block;
  for (int64_t block = 0; block < blocks; ++block) {
    float part[kInt4Block];
    const float* values = block_of_row(row, block * kInt4Block, depth, part);
    store_int4_block(pack_int4_block(values), lane, int4_place(block, blocks), panel);
  }
}

inline bool pack_panel(WeightFormat format, const float* rows, int64_t count, int64_t depth, void* out) {
  auto* panel = static_cast<uint8_t*>(out);
  if (format == WeightFormat::kBF12) return pack_bf12(rows, count, depth, panel);
  for (int64_t lane = 0; lane < kPanel; ++lane) {
    const float* row = lane < count ? rows + lane * depth : nullptr;
    switch (format) {
      case WeightFormat::kBF16: {
        auto* pairs = reinterpret_cast<uint16_t*>(panel) + lane * 2;
        for (int64_t k = 0; k < depth; ++k) pairs[k / 2 * 2 * kPanel + k % 2] = row == nullptr ? 0 : to_bf16(row[k]);
        if (depth % 2 != 0) pairs[depth / 2 * 2 * kPanel + 1] = 0;
        break;
      }
      case WeightFormat::kInt8:
        pack_int8(row, depth, lane, panel);
        break;
      case WeightFormat::kInt6:
        pack_int6(row, depth, lane, panel);
        break;
      case WeightFormat::kInt4:
        pack_int4(row, depth, lane, panel);
        break;
      case WeightFormat::kBF12:
      case WeightFormat::kF32:
        break;
    }
  }
  return true;
}

inline float cache_element(float value, const float* /*type*/) { return value; }
inline uint16_t cache_element(float value, const uint16_t* /*type*/) { return to_bf16(value); }

template <typename T, int64_t STEP>
inline void store_as(const StoreCall& call) {
  const int64_t padded = padded_head(call.head_dim);
  T* keys = static_cast<T*>(call.key_page);
  T* values = static_cast<T*>(call.value_page);
  for (int64_t i = 0; i < call.count; ++i) {
    const float* key = call.keys + i * call.stride;
    const float* value = call.values + i * call.stride;
    const int64_t slot = call.slot + i;
    T* key_slot = keys + slot * STEP;
    T* value_slot = values + slot / STEP * padded * STEP + slot % STEP;
    for (int64_t d = 0; d < call.head_dim; ++d) {
      key_slot[d / STEP * kPageTokens * STEP + d % STEP] = cache_element(key[d], keys);
      value_slot[d * STEP] = cache_element(value[d], values);
    }
  }
}

// One vector of a head as bytes, `per_step` of them together and the next `stride` further. Its scale.
inline float store_bytes_of(const float* x, int64_t head_dim, int64_t stride, int64_t per_step, uint8_t* out) {
  const float most = largest_magnitude(x, head_dim);
  const float inverse = most > 0 ? 127.0F / most : 0.0F;
  for (int64_t d = 0; d < head_dim; ++d) {
    out[d / per_step * stride + d % per_step] = static_cast<uint8_t>(to_nearest(x[d] * inverse) + 128);
  }
  return most / 127.0F;
}

inline void store_as_bytes(const StoreCall& call) {
  const int64_t padded = padded_head(call.head_dim);
  auto* keys = static_cast<uint8_t*>(call.key_page);
  auto* values = static_cast<uint8_t*>(call.value_page);
  auto* key_scales = reinterpret_cast<float*>(keys + kPageTokens * padded);
  auto* value_scales = reinterpret_cast<float*>(values + kPageTokens * padded);
  for (int64_t i = 0; i < call.count; ++i) {
    const int64_t slot = call.slot + i;
    // Keys: four elements of a position together; values: four positions of an element.
    key_scales[slot] = store_bytes_of(call.keys + i * call.stride, call.head_dim, kPageTokens * 4, 4, keys + slot * 4);
    value_scales[slot] =
        store_bytes_of(call.values + i * call.stride, call.head_dim, 4, 1, values + slot / 4 * padded * 4 + slot % 4);
  }
}

inline void store_tokens(const StoreCall& call) {
  if (call.slot == 0) {
    // What another sequence left here meets weights of zero, but zero times infinity is no zero.
    const auto bytes = static_cast<size_t>(page_head_bytes(call.format, call.head_dim));
    __builtin_memset(call.key_page, 0, bytes);
    __builtin_memset(call.value_page, 0, bytes);
  }
  switch (call.format) {
    case CacheFormat::kF32:
      store_as<float, 1>(call);
      break;
    case CacheFormat::kBF16:
      store_as<uint16_t, 2>(call);
      break;
    case CacheFormat::kInt8:
      store_as_bytes(call);
      break;
  }
}

}  // namespace
}  // namespace slipway::kernels
