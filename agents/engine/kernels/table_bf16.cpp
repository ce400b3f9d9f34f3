// The kernels with AVX-512, its VNNI and its BF16; compiled with those flags, called only where the machine has them.
#include "agents/engine/kernels/bytes_vnni.h"
#include "agents/engine/kernels/tables.h"

namespace slipway::kernels {
namespace {

struct Wide : Avx512Floats, VnniBytes {
  using Pairs = __m512i;

  static __m512i load_pairs(const uint16_t* p) { return _mm512_loadu_si512(p); }
  static __m512i pairs_of(const Lines& lines, int line) { return lines.line[line]; }
  static __m512i broadcast_pair(const uint16_t* p) { return broadcast_four(p); }
  static __m512 multiply_add_pairs(__m512 sum, __m512i weights, __m512i x) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(weights), reinterpret_cast<__m512bh>(x));
  }
};

}  // namespace

const Table kAvx512Bf16Table = make_table<Avx512, Wide>("avx512-bf16");

}  // namespace slipway::kernels
