// Perplexity of a model over held-out rows. Called by eval.cpp.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "agents/engine/eval/examples.h"

namespace slipway::runtime {
class Engine;
}

namespace slipway::eval {

struct Perplexity {
  double loss = 0;        // mean negative log-likelihood of the scored tokens, in nats
  double perplexity = 0;  // exp(loss)
  int64_t tokens = 0;     // scored
};

// Under which name the engine must have an adapter for examples of a task; `adapter` itself where there are no tasks.
std::string adapter_of_task(const std::string& adapter, int64_t task_id);

// Scores all examples, several at a time, each with the adapter of its task (empty: the base model). `on_progress(done,
// total)` counts tokens (all that are computed), about once a second, on the calling thread. Nothing is returned when
// `stop` became true. The result does not depend on the order in which rows finish. Throws base::Error.
std::optional<Perplexity> measure_perplexity(const Examples& examples, runtime::Engine& engine,
                                             const std::string& adapter,
                                             const std::function<void(int64_t done, int64_t total)>& on_progress,
                                             const std::atomic<bool>& stop);

}  // namespace slipway::eval
