// What the three levels with AVX-512 share. Included by their files alone; see impl_elementwise.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "agents/engine/kernels/make_table.h"

namespace slipway::kernels {
namespace {

struct Avx512 {
  static constexpr int kLanes = 16;
  static constexpr int kColumns = 4;
  static constexpr int kColumnsOfOneRow = 8;
  using Register = __m512;

  static __mmask16 mask(int count) { return static_cast<__mmask16>((1U << static_cast<unsigned>(count)) - 1U); }
  static Register zero() { return _mm512_setzero_ps(); }
  static Register all(float value) { return _mm512_set1_ps(value); }
  static Register load(const float* p) { return _mm512_loadu_ps(p); }
  static Register load_part(const float* p, int count) { return _mm512_maskz_loadu_ps(mask(count), p); }
  static void store(float* p, Register a) { _mm512_storeu_ps(p, a); }
  static Register add(Register a, Register b) { return _mm512_add_ps(a, b); }
  static Register subtract(Register a, Register b) { return _mm512_sub_ps(a, b); }
  static Register multiply(Register a, Register b) { return _mm512_mul_ps(a, b); }
  static Register divide(Register a, Register b) { return _mm512_div_ps(a, b); }
  static Register multiply_add(Register a, Register b, Register c) { return _mm512_fmadd_ps(a, b, c); }
  static Register maximum(Register a, Register b) { return _mm512_max_ps(a, b); }
  static float sum(Register a) {
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    quarter = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
    return _mm_cvtss_f32(_mm_add_ss(quarter, _mm_movehdup_ps(quarter)));
  }
  static Register exp(Register a) {
    // Not-a-number must come through, so the value is the second operand.
    a = _mm512_min_ps(all(kExpHighest), _mm512_max_ps(all(kExpLowest), a));
    const Register n = _mm512_roundscale_ps(multiply(a, all(kLog2E)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    Register r = _mm512_fnmadd_ps(n, all(kLn2High), a);
    r = _mm512_fnmadd_ps(n, all(kLn2Low), r);
    Register p = all(kExpCoefficients[0]);
    for (int i = 1; i < 8; ++i) p = multiply_add(p, r, all(kExpCoefficients[i]));
    return _mm512_scalef_ps(p, n);
  }
};

// 16 floats are one register here.
struct Avx512Floats : Avx512 {
  using Floats = __m512;
  struct Pairs {
    __m512 low, high;
  };

  static constexpr int kRows = 6;
  static constexpr int kPanels = 2;
  static constexpr int kHeadVectors = 4;

  static void store_part(float* p, __m512 a, int count) { _mm512_mask_storeu_ps(p, mask(count), a); }
  static float largest(__m512 a) { return _mm512_reduce_max_ps(a); }
  static void store_elements(float* p, __m512 a) { store(p, a); }
  static void store_elements(uint16_t* p, __m512 a) {
    // Round to nearest even; no value here is infinite or no number without the result being so anyway.
    const __m512i bits = _mm512_castps_si512(a);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
  }
  static __m512 load_bf16(const uint8_t* p) {
    const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
  }
  static Pairs split(__m512i pairs) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)),
            _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int>(0xffff0000U))))};
  }
  static __m512i broadcast_four(const void* p) {
    int32_t four;
    __builtin_memcpy(&four, p, sizeof four);
    return _mm512_set1_epi32(four);
  }
  // Four lines of kBF16.
  struct Lines {
    __m512i line[4];
  };
  static __m512i load_bases(const uint8_t* panel) {
    const __m512i bases = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(panel)));
    return _mm512_or_si512(bases, _mm512_slli_epi32(bases, 16));
  }
  static __m512i bits(__m512i words, uint16_t mask) {
    return _mm512_and_si512(words, _mm512_set1_epi16(static_cast<int16_t>(mask)));
  }
  // found | (words & mask)
  static __m512i with_bits(__m512i found, __m512i words, uint16_t mask) {
    return _mm512_ternarylogic_epi32(found, words, _mm512_set1_epi16(static_cast<int16_t>(mask)), 0xf8);
  }
  static __m512i add_base(__m512i value, __m512i base) {
    const __mmask32 coded = _mm512_test_epi16_mask(value, _mm512_set1_epi16(kBf12Code));
    return _mm512_mask_add_epi16(value, coded, value, base);
  }
  static Lines unpack_step(const uint8_t* words, __m512i bases) {
    const __m512i a = _mm512_loadu_si512(words), b = _mm512_loadu_si512(words + 64),
                  c = _mm512_loadu_si512(words + 128);
    __m512i fourth = bits(_mm512_srli_epi16(a, 4), kBf12Code);
    fourth = with_bits(fourth, _mm512_srli_epi16(b, 8), 0x78);
    fourth = with_bits(fourth, _mm512_srli_epi16(c, 12), 7);
    fourth = with_bits(fourth, _mm512_slli_epi16(c, 4), 0x8000);
    constexpr uint16_t kValue = kBf12Rest | kBf12Code;
    return {add_base(bits(a, kValue), bases), add_base(bits(b, kValue), bases), add_base(bits(c, kValue), bases),
            add_base(fourth, bases)};
  }
  static Lines load_lines(const uint16_t* p) {
    return {_mm512_loadu_si512(p), _mm512_loadu_si512(p + 32), _mm512_loadu_si512(p + 64), _mm512_loadu_si512(p + 96)};
  }
  static void store_lines(uint16_t* p, const Lines& lines) {
    for (int i = 0; i < 4; ++i) _mm512_storeu_si512(p + 32 * i, lines.line[i]);
  }

  static Pairs load_pairs(const uint16_t* p) { return split(_mm512_loadu_si512(p)); }
  static Pairs pairs_of(const Lines& lines, int line) { return split(lines.line[line]); }
  static Pairs broadcast_pair(const uint16_t* p) { return split(broadcast_four(p)); }
  static __m512 multiply_add_pairs(__m512 sum, const Pairs& weights, const Pairs& x) {
    return _mm512_fmadd_ps(weights.high, x.high, _mm512_fmadd_ps(weights.low, x.low, sum));
  }
};

}  // namespace
}  // namespace slipway::kernels
