// Dot products of bytes with AVX2: for its own level, and for AVX-512 machines without VNNI. Included by the levels'
// files alone; see impl_elementwise.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace slipway::kernels {
namespace {

struct Avx2Bytes {
  struct Bytes {
    __m256i first, second;  // of columns 0 to 7, 8 to 15; signed
  };
  struct Ints {
    __m256i first, second;
  };

  // The bytes are made signed here, so the correction for their offset is not wanted.
  static Ints start(int32_t /*correction*/) { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  static __m256i half_line(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static Bytes load_bytes(const uint8_t* p) {
    const __m256i flip = _mm256_set1_epi8(-128);
    return {_mm256_xor_si256(half_line(p), flip), _mm256_xor_si256(half_line(p + 32), flip)};
  }
  static void store_bytes(uint8_t* p, const Bytes& a) {
    const __m256i flip = _mm256_set1_epi8(-128);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_xor_si256(a.first, flip));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 32), _mm256_xor_si256(a.second, flip));
  }
  static __m256i broadcast_bytes(const int8_t* p) {
    int32_t four;
    __builtin_memcpy(&four, p, sizeof four);
    return _mm256_set1_epi32(four);
  }
  // |w| · (x with w's sign) in pairs: both are at most 127, so two products fit 16 bits.
  static __m256i dot_half(__m256i sum, __m256i w, __m256i x) {
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  static Ints dot(const Ints& sum, const Bytes& w, __m256i x) {
    return {dot_half(sum.first, w.first, x), dot_half(sum.second, w.second, x)};
  }
  // Four lines of kInt8 from three of kInt6.
  static void unpack_six(const uint8_t* p, Bytes (&four)[4]) {
    const __m256i upper = _mm256_set1_epi8(static_cast<char>(0xfc)), flip = _mm256_set1_epi8(-128);
    const auto signed_bits = [&](__m256i bits) { return _mm256_xor_si256(_mm256_and_si256(bits, upper), flip); };
    const auto part = [&](const uint8_t* half, __m256i& first, __m256i& second, __m256i& third, __m256i& fourth) {
      const __m256i a = half_line(half), b = half_line(half + 64), c = half_line(half + 128);
      first = signed_bits(a);
      second = signed_bits(b);
      third = signed_bits(c);
      const __m256i high = _mm256_and_si256(_mm256_slli_epi16(a, 6), _mm256_set1_epi8(static_cast<char>(0xc0)));
      const __m256i middle = _mm256_and_si256(_mm256_slli_epi16(b, 4), _mm256_set1_epi8(0x30));
      const __m256i low = _mm256_and_si256(_mm256_slli_epi16(c, 2), _mm256_set1_epi8(0x0c));
      fourth = _mm256_xor_si256(_mm256_or_si256(high, _mm256_or_si256(middle, low)), flip);
    };
    part(p, four[0].first, four[1].first, four[2].first, four[3].first);
    part(p + 32, four[0].second, four[1].second, four[2].second, four[3].second);
  }
  static Bytes spread_offsets(const uint8_t* p) {
    const __m128i flipped = _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)), _mm_set1_epi8(-128));
    const __m256i both = _mm256_broadcastsi128_si256(flipped);
    const __m128i four = _mm_setr_epi8(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    const __m256i first = _mm256_set_m128i(_mm_add_epi8(four, _mm_set1_epi8(4)), four);
    return {_mm256_shuffle_epi8(both, first), _mm256_shuffle_epi8(both, _mm256_add_epi8(first, _mm256_set1_epi8(8)))};
  }
  static void unpack(const uint8_t* p, const Bytes& offset, Bytes& low, Bytes& high) {
    const __m256i mask = _mm256_set1_epi8(0x78);
    const auto part = [&](__m256i line, __m256i add, __m256i& low_half, __m256i& high_half) {
      low_half = _mm256_add_epi8(_mm256_and_si256(_mm256_slli_epi16(line, 3), mask), add);
      high_half = _mm256_add_epi8(_mm256_and_si256(_mm256_srli_epi16(line, 1), mask), add);
    };
    part(half_line(p), offset.first, low.first, high.first);
    part(half_line(p + 32), offset.second, low.second, high.second);
  }
};

}  // namespace
}  // namespace slipway::kernels
