// Packing and unpacking of kBF12 (layout.h), in plain loops that the compiler makes vectors of. Included by the levels'
// files alone; see impl_elementwise.h.
#pragma once

#include <cstdint>

#include "agents/engine/kernels/impl_bits.h"
#include "agents/engine/kernels/kernels.h"

namespace slipway::kernels {
namespace {

constexpr uint16_t kBf12Code = 15U << 7U;       // where the exponent's lowest four bits are
constexpr uint16_t kBf12Exponent = 255U << 7U;  // the whole of it
constexpr uint16_t kBf12Rest = 0x807f;          // sign and mantissa
constexpr int64_t kBf12Line = 2 * kPanel;       // words

// The bases of a panel, each twice, as a line has its columns.
struct Bf12Bases {
  alignas(64) uint16_t word[kBf12Line];
};

inline Bf12Bases bf12_bases(const uint8_t* panel) {
  uint16_t bases[kPanel];
  __builtin_memcpy(bases, panel, sizeof bases);
  Bf12Bases twice;
  for (int64_t i = 0; i < kBf12Line; ++i) twice.word[i] = bases[i / 2];
  return twice;
}

// What a code stands for, without exceptions.
inline uint16_t bf12_value(uint16_t code, uint16_t base) {
  const auto value = static_cast<uint16_t>(code & (kBf12Rest | kBf12Code));
  return static_cast<uint16_t>((code & kBf12Code) != 0 ? value + base : value);
}

// Four lines of kBF16 from the words of one step.
inline void unpack_bf12_step(const uint8_t* words, const Bf12Bases& bases, uint16_t* out) {
  uint16_t three[3 * kBf12Line];
  __builtin_memcpy(three, words, sizeof three);
  for (int64_t i = 0; i < kBf12Line; ++i) {
    const uint32_t a = three[i], b = three[kBf12Line + i], c = three[2 * kBf12Line + i];
    const uint32_t fourth = (a >> 4U & kBf12Code) | (b >> 8U & 0x78U) | (c >> 12U & 7U) | (c << 4U & 0x8000U);
    out[i] = bf12_value(three[i], bases.word[i]);
    out[kBf12Line + i] = bf12_value(three[kBf12Line + i], bases.word[i]);
    out[2 * kBf12Line + i] = bf12_value(three[2 * kBf12Line + i], bases.word[i]);
    out[3 * kBf12Line + i] = bf12_value(static_cast<uint16_t>(fourth), bases.word[i]);
  }
}

// The exceptions of a panel, step by step.
class Bf12Exceptions {
 public:
  Bf12Exceptions() = default;
  explicit Bf12Exceptions(const uint8_t* panel) : next_(reinterpret_cast<const Bf12Exception*>(panel + 64)) {
    uint32_t count;
    __builtin_memcpy(&count, panel + kPanel * 2, sizeof count);
    end_ = next_ + count;
    look();
  }
  // Whether this step, which is none before the last one asked for, has some.
  bool has(int64_t step) const { return step == step_; }
  // Puts those of the step into its four lines.
  void put(uint16_t* words) {
    for (const int64_t step = step_; step == step_; ++next_, look()) words[next_->place % kBf12Words] = next_->bits;
  }

 private:
  void look() { step_ = next_ == end_ ? -1 : static_cast<int64_t>(next_->place) / kBf12Words; }

  const Bf12Exception* next_ = nullptr;
  const Bf12Exception* end_ = nullptr;
  int64_t step_ = -1;  // of the next one
};

// Codes of four lines. False: there are exceptions among them.
inline bool pack_bf12_step(const uint16_t* lines, const Bf12Bases& bases, uint8_t* words) {
  uint16_t codes[kBf12Words], three[3 * kBf12Line];
  uint32_t outside = 0;
  for (int64_t i = 0; i < kBf12Words; ++i) {
    const uint16_t exponent = lines[i] & kBf12Exponent, base = bases.word[i % kBf12Line];
    const auto above = static_cast<uint16_t>(exponent == 0 ? 0 : exponent - base);
    outside |= (above & ~kBf12Code) | (exponent != 0 && above == 0 ? 1U : 0U);
    codes[i] = static_cast<uint16_t>((lines[i] & kBf12Rest) | (above & kBf12Code));
  }
  for (int64_t i = 0; i < kBf12Line; ++i) {
    const uint32_t fourth = codes[3 * kBf12Line + i];
    three[i] = static_cast<uint16_t>(codes[i] | (fourth & kBf12Code) << 4U);
    three[kBf12Line + i] = static_cast<uint16_t>(codes[kBf12Line + i] | (fourth & 0x78U) << 8U);
    three[2 * kBf12Line + i] =
        static_cast<uint16_t>(codes[2 * kBf12Line + i] | (fourth & 7U) << 12U | (fourth & 0x8000U) >> 4U);
  }
  __builtin_memcpy(words, three, sizeof three);
  return outside == 0;
}

// Up to kPanel rows as a panel of kBF12. False: there are more exceptions than it has room for.
inline bool pack_bf12(const float* rows, int64_t count, int64_t depth, uint8_t* panel) {
  constexpr int64_t kAtOnce = 8 * kBf12Step;  // of the depth
  uint16_t bases[kPanel] = {};
  for (int64_t lane = 0; lane < count; ++lane) {
    const uint16_t most = to_bf16(largest_magnitude(rows + lane * depth, depth)) & kBf12Exponent;
    bases[lane] = most > kBf12Code ? static_cast<uint16_t>(most - kBf12Code) : 0;
  }
  __builtin_memset(panel, 0, static_cast<size_t>(bf12_head_bytes(depth)));
  __builtin_memcpy(panel, bases, sizeof bases);
  const Bf12Bases twice = bf12_bases(panel);
  auto* exceptions = reinterpret_cast<Bf12Exception*>(panel + 64);
  uint8_t* words = panel + bf12_head_bytes(depth);
  uint32_t found = 0;
  for (int64_t begin = 0; begin < depth; begin += kAtOnce) {
    const int64_t size = depth - begin < kAtOnce ? depth - begin : kAtOnce;
    uint16_t part[kPanel][kAtOnce] = {}, lines[kAtOnce * kPanel];
    for (int64_t lane = 0; lane < count; ++lane) {
      for (int64_t k = 0; k < size; ++k) part[lane][k] = to_bf16(rows[lane * depth + begin + k]);
    }
    for (int64_t k = 0; k < size; k += 2) {
      for (int64_t lane = 0; lane < kPanel; ++lane) __builtin_memcpy(lines + k * kPanel + lane * 2, part[lane] + k, 4);
    }
    for (int64_t step = 0; step < size / kBf12Step; ++step, words += kBf12StepBytes) {
      const uint16_t* of_step = lines + step * kBf12Words;
      if (pack_bf12_step(of_step, twice, words)) continue;
      uint16_t back[kBf12Words];
      unpack_bf12_step(words, twice, back);
      const int64_t place = begin * kPanel + step * kBf12Words;
      for (int64_t i = 0; i < kBf12Words; ++i) {
        if (back[i] == of_step[i]) continue;
        if (found == bf12_exceptions(depth)) return false;
        exceptions[found++] = {static_cast<uint32_t>(place + i), of_step[i], 0};
      }
    }
  }
  __builtin_memcpy(panel + kPanel * 2, &found, sizeof found);
  return true;
}

}  // namespace
}  // namespace slipway::kernels
