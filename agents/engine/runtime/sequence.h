// One request on its way through the engine: what the scheduler, the model runner and the engine keep of it. All of it
// belongs to the engine's thread, but while the runner's workers fill in their own sequence's results.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "agents/engine/runtime/adapter_store.h"
#include "agents/engine/runtime/engine.h"
#include "agents/engine/runtime/page_pool.h"

namespace slipway::runtime {

// The order in which sequences are served: the lowest priority value first, then the oldest.
using Rank = std::pair<int64_t, uint64_t>;

struct Sequence {
  uint64_t id = 0;
  GenerationRequest request;
  std::shared_ptr<Adapter> adapter;                 // null: the base model
  const AdapterWeights* adapter_weights = nullptr;  // while it is running
  std::vector<int32_t> tokens;  // the adapter's virtual tokens as −1, −2, …, prompt and generated
  int64_t virtual_tokens = 0;
  int64_t prompt_tokens = 0;        // with the virtual ones
  int64_t max_length = 0;           // of tokens
  std::vector<int32_t> end_tokens;  // sorted

  // Instead of generating: gets the logits of each position from first_wanted on (any worker thread), or the last
  // position's final hidden state (the engine's thread).
  std::function<void(int64_t position, const float* logits)> on_logits;
  std::function<void(std::vector<float> state)> on_state;
  int64_t first_wanted = 0;
  std::string failure;                         // what went wrong at one of these positions
  std::vector<GeneratedToken> prompt_results;  // of the prompt's own tokens; empty unless asked for, and once given

  int64_t computed = 0;        // tokens whose keys and values are in the cache
  std::vector<int32_t> pages;  // of the cache; more than `computed` needs only within a step
  int64_t entered_pages = 0;   // how many of them others can find
  PrefixNode node = 0;         // of the last of those; the root when there are none
  bool admitted_before = false;
  bool scheduled = false;     // some step has computed tokens of it
  int64_t cached_tokens = 0;  // of prompt_tokens, found in the cache when it was first admitted
  int64_t planned = 0;        // tokens, guesses included, that the step under way computes

  std::vector<int32_t> draft;  // guesses at what follows `tokens`, computed along in this step
  int64_t draft_limit = 0;     // how many to guess; follows how well they went
  std::vector<int32_t> mask;   // of the constraint, for the next token

  Rank rank() const { return {request.priority, id}; }
  bool generates() const { return !on_logits && !on_state; }
  // The first position whose logits or state somebody needs: all from there on must be computed, none taken from
  // others.
  int64_t first_needed() const {
    if (on_logits) return first_wanted;
    return prompt_results.empty() ? static_cast<int64_t>(tokens.size()) - 1 : virtual_tokens;
  }
  // Without the virtual tokens.
  std::span<const int32_t> text() const { return std::span(tokens).subspan(static_cast<size_t>(virtual_tokens)); }
  int64_t outstanding() const { return static_cast<int64_t>(tokens.size()) - computed; }
};

}  // namespace slipway::runtime
