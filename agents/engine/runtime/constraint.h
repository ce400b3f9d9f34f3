// What the engine needs to know of a grammar that a request's output must follow. grammar.h makes them.
#pragma once

#include <cstdint>
#include <span>

namespace slipway::runtime {

// The state of one request's output within its grammar. One call at a time, from any thread.
class TokenConstraint {
 public:
  virtual ~TokenConstraint() = default;

  // Sets bit t % 32 of mask[t / 32] for each token t that may come next, and clears the others. The mask covers the
  // model's vocabulary. False when the grammar's library failed.
  virtual bool fill_mask(std::span<int32_t> mask) noexcept = 0;

  // Goes on by `token`; false when the grammar does not allow it.
  virtual bool accept(int32_t token) noexcept = 0;

  // Nothing may follow: an end token was accepted.
  virtual bool complete() const noexcept = 0;
};

}  // namespace slipway::runtime
