// The kernels with AVX-512 (F, BW, DQ, VL); compiled with those flags, called only where the machine has them.
#include "agents/engine/kernels/avx512.h"
#include "agents/engine/kernels/bytes_avx2.h"
#include "agents/engine/kernels/tables.h"

namespace slipway::kernels {
namespace {

struct Wide : Avx512Floats, Avx2Bytes {
  static __m512 to_floats(const Ints& a) {
    return _mm512_cvtepi32_ps(_mm512_inserti64x4(_mm512_castsi256_si512(a.first), a.second, 1));
  }
};

}  // namespace

const Table kAvx512Table = make_table<Avx512, Wide>("avx512");

}  // namespace slipway::kernels
