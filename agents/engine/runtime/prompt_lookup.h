// Guesses the next tokens of a sequence from what it said before, for speculative decoding. A pure function, called by
// the scheduler.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace slipway::runtime {

// `most` tokens: what followed the last place before the end where the last three (else two) tokens stood, and beyond
// the end that again; nothing when they stood nowhere. As prompt lookup decoding (Saxena, 2023) does.
std::vector<int32_t> look_up_continuation(std::span<const int32_t> tokens, int64_t most);

}  // namespace slipway::runtime
