#include "agents/engine/kernels/kernels.h"

#include <bit>
#include <cstring>

#include "agents/engine/kernels/tables.h"

namespace slipway::kernels {
namespace {

bool machine_has(Level level) {
#if defined(__x86_64__)
  switch (level) {
    case Level::kPortable:
      return true;
    case Level::kAvx2:
      return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
    case Level::kAvx512:
      return machine_has(Level::kAvx2) && __builtin_cpu_supports("avx512f") != 0 &&
             __builtin_cpu_supports("avx512bw") != 0 && __builtin_cpu_supports("avx512dq") != 0 &&
             __builtin_cpu_supports("avx512vl") != 0;
    case Level::kAvx512Vnni:
      return machine_has(Level::kAvx512) && __builtin_cpu_supports("avx512vnni") != 0;
    case Level::kAvx512Bf16:
      return machine_has(Level::kAvx512Vnni) && __builtin_cpu_supports("avx512bf16") != 0;
  }
  return false;
#else
  return level == Level::kPortable;
#endif
}

uint16_t word_at(const uint8_t* p) {
  uint16_t word;
  std::memcpy(&word, p, sizeof word);
  return word;
}

float bf16_at(const uint8_t* p) { return std::bit_cast<float>(static_cast<uint32_t>(word_at(p)) << 16U); }

// The weight in word `place` of a step's four lines of words, the last of which is spread over the others.
uint16_t bf12_code(const uint8_t* step, int64_t place) {
  constexpr int64_t kLine = 2 * kPanel;
  if (place < 3 * kLine) return word_at(step + place * 2) & 0x87ffU;
  place -= 3 * kLine;
  const uint32_t a = word_at(step + place * 2), b = word_at(step + (place + kLine) * 2),
                 c = word_at(step + (place + 2 * kLine) * 2);
  return static_cast<uint16_t>((a >> 4U & 0x780U) | (b >> 8U & 0x78U) | (c >> 12U & 7U) | (c << 4U & 0x8000U));
}

void unpack_bf12_column(const uint8_t* panel, int64_t lane, int64_t depth, float* out) {
  const uint16_t base = word_at(panel + lane * 2);
  const uint8_t* words = panel + bf12_head_bytes(depth);
  for (int64_t k = 0; k < depth; ++k) {
    const int64_t place = k / 2 * kPanel * 2 + lane * 2 + k % 2;
    uint32_t value = bf12_code(words + place / kBf12Words * kBf12StepBytes, place % kBf12Words);
    if ((value & 0x780U) != 0) value += base;
    out[k] = std::bit_cast<float>(value << 16U);
  }
  uint32_t count;
  std::memcpy(&count, panel + kPanel * 2, sizeof count);
  for (uint32_t i = 0; i < count; ++i) {
    Bf12Exception exception;
    std::memcpy(&exception, panel + 64 + i * sizeof exception, sizeof exception);
    if (exception.place / 2 % kPanel != static_cast<uint32_t>(lane)) continue;
    const uint32_t k = exception.place / (2 * kPanel) * 2 + exception.place % 2;
    out[k] = std::bit_cast<float>(static_cast<uint32_t>(exception.bits) << 16U);
  }
}

// The byte that kInt8 would have for weight k of a block of kInt6, whose lines of one column these are.
int int6_byte(const uint8_t* lines, int64_t k) {
  const uint8_t* three = lines + k / 16 * 3 * 64 + k % 4;
  const int64_t line = k % 16 / 4;
  if (line < 3) return three[line * 64] & 0xfc;
  return (three[0] & 3) << 6 | (three[64] & 3) << 4 | (three[128] & 3) << 2;
}

}  // namespace

Level best_level() {
  Level best = Level::kPortable;
  for (const Level level : kLevels) {
    if (machine_has(level)) best = level;
  }
  return best;
}

const Table* table(Level level) {
  if (!machine_has(level)) return nullptr;
#if defined(__x86_64__)
  switch (level) {
    case Level::kPortable:
      break;
    case Level::kAvx2:
      return &kAvx2Table;
    case Level::kAvx512:
      return &kAvx512Table;
    case Level::kAvx512Vnni:
      return &kAvx512VnniTable;
    case Level::kAvx512Bf16:
      return &kAvx512Bf16Table;
  }
#endif
  return &kPortableTable;
}

void unpack_column(WeightFormat format, const void* panel, int64_t lane, int64_t depth, float* out) {
  const auto* bytes = static_cast<const uint8_t*>(panel);
  switch (format) {
    case WeightFormat::kBF16:
      for (int64_t k = 0; k < depth; ++k) out[k] = bf16_at(bytes + (k / 2 * kPanel * 2 + lane * 2 + k % 2) * 2);
      break;
    case WeightFormat::kBF12:
      unpack_bf12_column(bytes, lane, depth, out);
      break;
    case WeightFormat::kInt8: {
      const uint8_t* scales = bytes + kPanel * padded_depth(format, depth);
      for (int64_t k = 0; k < depth; ++k) {
        const uint8_t value = bytes[k / 4 * 64 + lane * 4 + k % 4];
        out[k] = bf16_at(scales + (k / kInt8Block * kPanel + lane) * 2) * static_cast<float>(value - 128);
      }
      break;
    }
    case WeightFormat::kInt6:
      for (int64_t k = 0; k < depth; ++k) {
        const int64_t block = k / kInt6Block;
        out[k] = bf16_at(bytes + int6_scales_at(block) + lane * 2) *
                 static_cast<float>(int6_byte(bytes + int6_lines_at(block) + lane * 4, k % kInt6Block) - 128);
      }
      break;
    case WeightFormat::kInt4: {
      const int64_t blocks = padded_depth(format, depth) / kInt4Block;
      for (int64_t k = 0; k < depth; ++k) {
        const Int4Place place = int4_place(k / kInt4Block, blocks);
        const uint8_t both = bytes[place.lines + k % kInt4Block / 8 * 64 + lane * 4 + k % 4];
        const int q = k % 8 < 4 ? both & 15 : both >> 4;
        out[k] =
            bf16_at(bytes + place.scales + lane * 2) * static_cast<float>(8 * q + bytes[place.offsets + lane] - 128);
      }
      break;
    }
    case WeightFormat::kF32:
      break;
  }
}

}  // namespace slipway::kernels
