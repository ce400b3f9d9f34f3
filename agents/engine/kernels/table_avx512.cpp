// The kernels with AVX-512 (F, BW, DQ, VL); compiled with those flags, called only where the machine has them.
#include <immintrin.h>

#include "agents/engine/kernels/table_impl.h"
#include "agents/engine/kernels/tables.h"

namespace slipway::kernels {
namespace {

struct Avx512 {
  static constexpr int kLanes = 16;
  static constexpr int kColumns = 4;
  static constexpr int kColumnsOfOneRow = 8;
  using Register = __m512;

  static __mmask16 mask(int count) { return static_cast<__mmask16>((1U << static_cast<unsigned>(count)) - 1U); }
  static Register widen(__m256i halves) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
  }
  static Register zero() { return _mm512_setzero_ps(); }
  static Register all(float value) { return _mm512_set1_ps(value); }
  static Register load(const float* p) { return _mm512_loadu_ps(p); }
  static Register load_part(const float* p, int count) { return _mm512_maskz_loadu_ps(mask(count), p); }
  static Register load(const uint16_t* p) { return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
  static Register load_part(const uint16_t* p, int count) { return widen(_mm256_maskz_loadu_epi16(mask(count), p)); }
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

}  // namespace

const Table kAvx512Table = make_table<Avx512>("avx512");

}  // namespace slipway::kernels
