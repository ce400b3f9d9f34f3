// 16 floats made of several vectors V: the W of levels whose registers are shorter than a panel's line. Included by the
// levels' files alone; see impl_elementwise.h.
#pragma once

#include <cstdint>

#include "agents/engine/kernels/impl_bf12.h"
#include "agents/engine/kernels/kernels.h"

namespace slipway::kernels {
namespace {

template <typename V>
struct WideFloats {
  static constexpr int kParts = 16 / V::kLanes;
  struct Floats {
    typename V::Register part[kParts];
  };
  struct Pairs {
    Floats low, high;  // the first and the second of 16 pairs
  };
  struct Pair {
    Floats low, high;  // each 16 times the same
  };

  template <typename F>
  static Floats make(F f) {
    Floats r;
#pragma GCC unroll 4
    for (int i = 0; i < kParts; ++i) r.part[i] = f(i);
    return r;
  }
  static Floats all(float value) {
    return make([&](int) { return V::all(value); });
  }
  static Floats zero() { return all(0); }
  static Floats load(const float* p) {
    return make([&](int i) { return V::load(p + i * V::kLanes); });
  }
  static void store(float* p, const Floats& a) {
#pragma GCC unroll 4
    for (int i = 0; i < kParts; ++i) V::store(p + i * V::kLanes, a.part[i]);
  }
  static Floats load_part(const float* p, int count) {
    float whole[16] = {};
    for (int i = 0; i < count; ++i) whole[i] = p[i];
    return load(whole);
  }
  static void store_part(float* p, const Floats& a, int count) {
    float whole[16];
    store(whole, a);
    for (int i = 0; i < count; ++i) p[i] = whole[i];
  }
  static Floats add(const Floats& a, const Floats& b) {
    return make([&](int i) { return V::add(a.part[i], b.part[i]); });
  }
  static Floats multiply(const Floats& a, const Floats& b) {
    return make([&](int i) { return V::multiply(a.part[i], b.part[i]); });
  }
  static Floats multiply_add(const Floats& a, const Floats& b, const Floats& c) {
    return make([&](int i) { return V::multiply_add(a.part[i], b.part[i], c.part[i]); });
  }
  static Floats maximum(const Floats& a, const Floats& b) {
    return make([&](int i) { return V::maximum(a.part[i], b.part[i]); });
  }
  static Floats exp(const Floats& a) {
    return make([&](int i) { return V::exp(a.part[i]); });
  }
  static float sum(const Floats& a) {
    float lanes[16], total = 0;
    store(lanes, a);
    for (const float lane : lanes) total += lane;
    return total;
  }
  static float largest(const Floats& a) {
    float lanes[16];
    store(lanes, a);
    float most = lanes[0];
    for (const float lane : lanes) most = lane > most ? lane : most;
    return most;
  }
  static void store_elements(float* p, const Floats& a) { store(p, a); }
  static void store_elements(uint16_t* p, const Floats& a) {
    float lanes[16];
    store(lanes, a);
    for (int i = 0; i < 16; ++i) p[i] = to_bf16(lanes[i]);
  }

  static Pairs load_pairs(const uint16_t* p) {
    return {make([&](int i) { return V::low_of_pairs(p + i * 2 * V::kLanes); }),
            make([&](int i) { return V::high_of_pairs(p + i * 2 * V::kLanes); })};
  }
  static Pair broadcast_pair(const uint16_t* p) {
    return {all(float_of(static_cast<uint32_t>(p[0]) << 16U)), all(float_of(static_cast<uint32_t>(p[1]) << 16U))};
  }
  // Four lines of kBF16.
  struct Lines {
    alignas(64) uint16_t word[kBf12Words];
  };
  static Bf12Bases load_bases(const uint8_t* panel) { return bf12_bases(panel); }
  static Lines unpack_step(const uint8_t* words, const Bf12Bases& bases) {
    Lines lines;
    unpack_bf12_step(words, bases, lines.word);
    return lines;
  }
  static Lines load_lines(const uint16_t* p) {
    Lines lines;
    __builtin_memcpy(lines.word, p, sizeof lines.word);
    return lines;
  }
  static void store_lines(uint16_t* p, const Lines& lines) { __builtin_memcpy(p, lines.word, sizeof lines.word); }
  static Pairs pairs_of(const Lines& lines, int line) { return load_pairs(lines.word + line * kBf12Line); }
  static Floats multiply_add_pairs(const Floats& sum, const Pairs& weights, const Pair& x) {
    return multiply_add(weights.high, x.high, multiply_add(weights.low, x.low, sum));
  }
};

}  // namespace
}  // namespace slipway::kernels
