// One block of one column of a panel of kInt4 (layout.h). Static, so that each file compiled for another machine level
// keeps its own copy.
#pragma once

#include <cstdint>

#include "agents/engine/kernels/layout.h"

namespace slipway::kernels {

// w = scale · (8 q − zero).
struct Int4Block {
  uint16_t scale = 0;  // bf16: an eighth of a step
  uint8_t zero = 0;    // 0 to 120
  uint8_t q[kInt4Block] = {};
};

// Puts it where int4_place() says.
[[maybe_unused]] static inline void store_int4_block(const Int4Block& block, int64_t lane, const Int4Place& place,
                                                     uint8_t* panel) {
  for (int64_t line = 0; line < kInt4Lines; ++line) {
    uint32_t first, second;
    __builtin_memcpy(&first, block.q + line * 8, 4);
    __builtin_memcpy(&second, block.q + line * 8 + 4, 4);
    const uint32_t both = first | second << 4U;
    __builtin_memcpy(panel + place.lines + line * 64 + lane * 4, &both, 4);
  }
  __builtin_memcpy(panel + place.scales + lane * 2, &block.scale, 2);
  panel[place.offsets + lane] = static_cast<uint8_t>(128 - block.zero);
}

}  // namespace slipway::kernels
