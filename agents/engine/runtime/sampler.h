// From logits to the next token: penalties, temperature, truncation, choice. Pure functions; called by the engine.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "agents/engine/kernels/kernels.h"
#include "agents/engine/runtime/engine.h"

namespace slipway::runtime {

// What sampling knows of a sequence beside its logits.
struct SamplingState {
  std::span<const int32_t> tokens;   // prompt and generated
  int64_t prompt_tokens = 0;         // how many of them are the prompt
  std::span<const int32_t> banned;   // end tokens, while min_tokens is not reached
  std::span<const int32_t> guesses;  // taken to follow `tokens`
  std::span<const int32_t> mask;     // bit t % 32 of word t / 32: token t is allowed; empty: all are
};

// log Σ exp(logits). `sum` is Σ exp(logits − their maximum): not finite when a logit is NaN or infinite. `best`: the
// first of the largest.
struct LogTotal {
  float value = 0, sum = 0;
  int32_t best = 0;
};
LogTotal log_total(std::span<const float> logits, const kernels::Table& table);

// Natural log-probability of `token` under the logits.
float log_probability(std::span<const float> logits, int32_t token, const kernels::Table& table);

// `token` with its log-probability, and those of the `top` best (negative: none). `total`: log_total of the logits.
GeneratedToken describe(std::span<const float> logits, int32_t token, int top, float total);

// Chooses the next token; `logits` is scratch. Order: bias, penalties, mask and bans, temperature, top_k, top_p, min_p.
// The draw depends on the seed and on the number of tokens generated so far alone. Log-probabilities are of the logits
// as the model gave them; `total`: log_total of those. The logits must hold no NaN. Throws base::Error when the mask
// allows nothing.
GeneratedToken sample(std::span<float> logits, const SamplingOptions& options, const SamplingState& state,
                      const LogTotal& total, const kernels::Table& table);

// Throws base::Error INVALID_REQUEST naming the option that is out of range.
void check_options(const SamplingOptions& options);

}  // namespace slipway::runtime
