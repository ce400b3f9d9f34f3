// The kernels with AVX-512 and its VNNI; compiled with those flags, called only where the machine has them.
#include "agents/engine/kernels/bytes_vnni.h"
#include "agents/engine/kernels/tables.h"

namespace slipway::kernels {
namespace {

struct Wide : Avx512Floats, VnniBytes {};

}  // namespace

const Table kAvx512VnniTable = make_table<Avx512, Wide>("avx512-vnni");

}  // namespace slipway::kernels
