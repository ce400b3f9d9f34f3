// The element types of the AVX-512 kernels: how sixteen or two rows of them become vectors. Included by the kernels'
// own files alone, which are compiled for these instructions.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace slipway::train {
namespace {

struct F32 {
  using Storage = float;
  static constexpr int kPair = 1;  // rows that one step of a product takes

  static __m512 load(const Storage* p) { return _mm512_loadu_ps(p); }
  static __m512 load(const Storage* p, __mmask16 mask) { return _mm512_maskz_loadu_ps(mask, p); }
  static void store(Storage* p, __m512 v) { _mm512_storeu_ps(p, v); }
  static void store(Storage* p, __m512 v, __mmask16 mask) { _mm512_mask_storeu_ps(p, mask, v); }

  // One row of the left side's tile (see pack_left) from one step of k; bf16: from two, the second zero when null.
  static void store_step(Storage* to, const Storage* row, const Storage*, __mmask16 read, __mmask16 written) {
    _mm512_mask_storeu_ps(to, written, _mm512_maskz_loadu_ps(read, row));
  }

  // Up to `count` elements as 32-bit values, and zeros; bf16: pairs.
  static __m512i load_pairs(const Storage* p, int64_t count) {
    return count >= 16 ? _mm512_loadu_si512(p)
                       : _mm512_maskz_loadu_epi32(static_cast<__mmask16>((1U << count) - 1U), p);
  }

  using Factor = __m512;
  static Factor broadcast(const Storage* p) { return _mm512_set1_ps(*p); }
  static Factor broadcast_last(const Storage* p) { return broadcast(p); }
  static __m512 multiply_add(__m512 sum, Factor left, Factor right) { return _mm512_fmadd_ps(left, right, sum); }
};

#ifdef __AVX512BF16__
struct Bf16 {
  using Storage = uint16_t;
  static constexpr int kPair = 2;

  static __m512 widen(__m256i v) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16)); }
  static __m256i narrow(__m512 v) {
    const __m256bh rounded = _mm512_cvtneps_pbh(v);
    __m256i bits;
    std::memcpy(&bits, &rounded, sizeof bits);
    return bits;
  }
  static __m512 load(const Storage* p) { return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
  static __m512 load(const Storage* p, __mmask16 mask) { return widen(_mm256_maskz_loadu_epi16(mask, p)); }
  static void store(Storage* p, __m512 v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow(v)); }
  static void store(Storage* p, __m512 v, __mmask16 mask) { _mm256_mask_storeu_epi16(p, mask, narrow(v)); }

  static void store_step(Storage* to, const Storage* even, const Storage* odd, __mmask16 read, __mmask16 written) {
    const __m256i first = _mm256_maskz_loadu_epi16(read, even);
    const __m256i second = odd != nullptr ? _mm256_maskz_loadu_epi16(read, odd) : _mm256_setzero_si256();
    _mm512_mask_storeu_epi32(
        to, written,
        _mm512_or_si512(_mm512_cvtepu16_epi32(first), _mm512_slli_epi32(_mm512_cvtepu16_epi32(second), 16)));
  }

  static __m512i load_pairs(const Storage* p, int64_t count) {
    return count >= 32 ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi16((1U << count) - 1U, p);
  }

  using Factor = __m512i;  // sixteen pairs
  static Factor broadcast(const Storage* p) {
    int32_t pair;
    std::memcpy(&pair, p, sizeof pair);
    return _mm512_set1_epi32(pair);
  }
  static Factor broadcast_last(const Storage* p) { return _mm512_set1_epi32(*p); }  // paired with zero
  static __m512 multiply_add(__m512 sum, Factor left, Factor right) {
    __m512bh a, b;
    std::memcpy(&a, &left, sizeof a);
    std::memcpy(&b, &right, sizeof b);
    return _mm512_dpbf16_ps(sum, a, b);
  }
};
#endif

// e^x, off by at most 2 units in the last place for x in [-87, 88]; 0 below, large above. Cody and Waite's reduction
// and a polynomial of degree 6.
inline __m512 exp16(__m512 x) {
  const __m512 clamped = _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(-87.3F)), _mm512_set1_ps(88.3F));
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(clamped, _mm512_set1_ps(1.44269504088896341F)), 0);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693145751953125F), clamped);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(1.42860682030941723e-6F), r);
  __m512 p = _mm512_set1_ps(1.0F / 720);
  for (const float c : {1.0F / 120, 1.0F / 24, 1.0F / 6, 0.5F, 1.0F, 1.0F})
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(c));
  const __m512 result = _mm512_scalef_ps(p, n);
  return _mm512_mask_mov_ps(result, _mm512_cmp_ps_mask(x, _mm512_set1_ps(-87.3F), _CMP_LT_OQ), _mm512_setzero_ps());
}

inline __m512 sigmoid16(__m512 x) {
  const __m512 one = _mm512_set1_ps(1.0F);
  return _mm512_div_ps(one, _mm512_add_ps(one, exp16(_mm512_sub_ps(_mm512_setzero_ps(), x))));
}

// tanh by e^2x: its error is absolute (1e-7), which is what sums of it need.
inline __m512 tanh16(__m512 x) {
  const __m512 two = _mm512_set1_ps(2.0F);
  return _mm512_sub_ps(_mm512_mul_ps(two, sigmoid16(_mm512_mul_ps(two, x))), _mm512_set1_ps(1.0F));
}

inline __mmask16 tail_mask(int64_t count) {
  return count >= 16 ? static_cast<__mmask16>(0xffff) : static_cast<__mmask16>((1U << count) - 1U);
}

}  // namespace
}  // namespace slipway::train
