#include "agents/engine/runtime/prompt_lookup.h"

#include <algorithm>
#include <cstddef>

namespace slipway::runtime {
namespace {

constexpr size_t kLongestPattern = 3, kShortestPattern = 2;

}  // namespace

std::vector<int32_t> look_up_continuation(std::span<const int32_t> tokens, int64_t most) {
  if (most <= 0) return {};
  for (size_t length = kLongestPattern; length >= kShortestPattern; --length) {
    if (tokens.size() <= length) continue;
    const auto pattern = tokens.last(length);
    for (size_t begin = tokens.size() - length; begin-- > 0;) {
      if (!std::equal(pattern.begin(), pattern.end(), tokens.begin() + static_cast<std::ptrdiff_t>(begin))) continue;
      std::vector<int32_t> guesses(tokens.begin() + static_cast<std::ptrdiff_t>(begin + length), tokens.end());
      // Past the end it goes on as what was guessed: a text that repeats itself will.
      for (size_t i = 0; guesses.size() < static_cast<size_t>(most); ++i) guesses.push_back(guesses[i]);
      guesses.resize(static_cast<size_t>(most));
      return guesses;
    }
  }
  return {};
}

}  // namespace slipway::runtime
