// Dot products of bytes with AVX-512 VNNI. Included by the levels' files alone; see impl_elementwise.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "agents/engine/kernels/avx512.h"

namespace slipway::kernels {
namespace {

struct VnniBytes {
  using Bytes = __m512i;  // unsigned: 128 more than the weight
  using Ints = __m512i;

  static __m512i start(int32_t correction) { return _mm512_set1_epi32(correction); }
  static __m512i load_bytes(const uint8_t* p) { return _mm512_loadu_si512(p); }
  static void store_bytes(uint8_t* p, __m512i a) { _mm512_storeu_si512(p, a); }
  static __m512i broadcast_bytes(const int8_t* p) { return Avx512Floats::broadcast_four(p); }
  static __m512i dot(__m512i sum, __m512i w, __m512i x) { return _mm512_dpbusd_epi32(sum, w, x); }
  static __m512 to_floats(__m512i a) { return _mm512_cvtepi32_ps(a); }
  // Four lines of kInt8 from three of kInt6.
  static void unpack_six(const uint8_t* p, __m512i (&four)[4]) {
    __m512i a = _mm512_loadu_si512(p), b = _mm512_loadu_si512(p + 64), c = _mm512_loadu_si512(p + 128);
    asm("" : "+v"(a), "+v"(b), "+v"(c));  // read once, as below
    constexpr uint16_t kUpper = 0xfcfc;
    four[0] = Avx512Floats::bits(a, kUpper);
    four[1] = Avx512Floats::bits(b, kUpper);
    four[2] = Avx512Floats::bits(c, kUpper);
    four[3] = Avx512Floats::bits(_mm512_slli_epi16(a, 6), 0xc0c0);
    four[3] = Avx512Floats::with_bits(four[3], _mm512_slli_epi16(b, 4), 0x3030);
    four[3] = Avx512Floats::with_bits(four[3], _mm512_slli_epi16(c, 2), 0x0c0c);
  }
  static __m512i spread_offsets(const uint8_t* p) {
    const __m512i all = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    const __m512i places = _mm512_set_epi32(0x0f0f0f0f, 0x0e0e0e0e, 0x0d0d0d0d, 0x0c0c0c0c, 0x0b0b0b0b, 0x0a0a0a0a,
                                            0x09090909, 0x08080808, 0x07070707, 0x06060606, 0x05050505, 0x04040404,
                                            0x03030303, 0x02020202, 0x01010101, 0x00000000);
    return _mm512_shuffle_epi8(all, places);
  }
  static void unpack(const uint8_t* p, __m512i offset, __m512i& low, __m512i& high) {
    __m512i line = _mm512_loadu_si512(p);
    asm("" : "+v"(line));  // read once: GCC would take it from memory for either half
    const __m512i mask = _mm512_set1_epi8(0x78);
    low = _mm512_add_epi8(_mm512_and_si512(_mm512_slli_epi16(line, 3), mask), offset);
    high = _mm512_add_epi8(_mm512_and_si512(_mm512_srli_epi16(line, 1), mask), offset);
  }
};

}  // namespace
}  // namespace slipway::kernels
