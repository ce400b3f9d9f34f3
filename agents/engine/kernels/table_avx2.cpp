// The kernels with AVX2 and FMA; compiled with those flags, called only where the machine has them.
#include <immintrin.h>

#include "agents/engine/kernels/bytes_avx2.h"
#include "agents/engine/kernels/make_table.h"
#include "agents/engine/kernels/tables.h"
#include "agents/engine/kernels/wide.h"

namespace slipway::kernels {
namespace {

struct Avx2 {
  static constexpr int kLanes = 8;
  static constexpr int kColumns = 2;
  static constexpr int kColumnsOfOneRow = 8;
  using Register = __m256;

  static __m256i mask(int count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static Register zero() { return _mm256_setzero_ps(); }
  static Register all(float value) { return _mm256_set1_ps(value); }
  static Register load(const float* p) { return _mm256_loadu_ps(p); }
  static Register load_part(const float* p, int count) { return _mm256_maskload_ps(p, mask(count)); }
  static Register low_of_pairs(const uint16_t* p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), 16));
  }
  static Register high_of_pairs(const uint16_t* p) {
    return _mm256_and_ps(_mm256_loadu_ps(reinterpret_cast<const float*>(p)),
                         _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(0xffff0000U))));
  }
  static void store(float* p, Register a) { _mm256_storeu_ps(p, a); }
  static Register add(Register a, Register b) { return _mm256_add_ps(a, b); }
  static Register subtract(Register a, Register b) { return _mm256_sub_ps(a, b); }
  static Register multiply(Register a, Register b) { return _mm256_mul_ps(a, b); }
  static Register divide(Register a, Register b) { return _mm256_div_ps(a, b); }
  static Register multiply_add(Register a, Register b, Register c) { return _mm256_fmadd_ps(a, b, c); }
  static Register maximum(Register a, Register b) { return _mm256_max_ps(a, b); }
  static float sum(Register a) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
  }
  static Register exp(Register a) {
    // Not-a-number must come through, so the value is the second operand.
    a = _mm256_min_ps(all(kExpHighest), _mm256_max_ps(all(kExpLowest), a));
    const Register n = _mm256_round_ps(multiply(a, all(kLog2E)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    Register r = _mm256_fnmadd_ps(n, all(kLn2High), a);
    r = _mm256_fnmadd_ps(n, all(kLn2Low), r);
    Register p = all(kExpCoefficients[0]);
    for (int i = 1; i < 8; ++i) p = multiply_add(p, r, all(kExpCoefficients[i]));
    const __m256i exponent = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return multiply(p, _mm256_castsi256_ps(exponent));
  }
};

struct Avx2Wide : WideFloats<Avx2>, Avx2Bytes {
  static constexpr int kRows = 2;
  static constexpr int kPanels = 1;
  static constexpr int kHeadVectors = 2;

  static Floats to_floats(const Ints& a) { return {{_mm256_cvtepi32_ps(a.first), _mm256_cvtepi32_ps(a.second)}}; }
  static Floats load_bf16(const uint8_t* p) {
    const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    const auto widen = [](__m128i part) {
      return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(part), 16));
    };
    return {{widen(_mm256_castsi256_si128(halves)), widen(_mm256_extracti128_si256(halves, 1))}};
  }
};

}  // namespace

const Table kAvx2Table = make_table<Avx2, Avx2Wide>("avx2");

}  // namespace slipway::kernels
