// The tables of the levels, each defined in a file of its own.
#pragma once

#include "agents/engine/kernels/kernels.h"

namespace slipway::kernels {

extern const Table kPortableTable;
extern const Table kAvx2Table;
extern const Table kAvx512Table;
extern const Table kAvx512VnniTable;
extern const Table kAvx512Bf16Table;

}  // namespace slipway::kernels
