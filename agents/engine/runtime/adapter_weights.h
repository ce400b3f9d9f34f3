// What an adapter of any kind changes, as the decoder applies it. Read by adapter_store.cpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "agents/engine/model/architecture.h"
#include "agents/engine/runtime/lora.h"

namespace slipway::runtime {

struct AdapterWeights {
  Lora lora;  // without layers: of prompt tuning
  // Prompt tuning's: [count, hidden_size], what stands before a prompt in the place of token embeddings, which an
  // architecture's embedding_scale does not touch.
  std::vector<float> virtual_tokens;
};

// Reads a PEFT folder. `task`: whose virtual tokens, of an adapter with several tasks; else 0. Throws base::Error: what
// load_lora and load_prompt_adapter throw, INVALID_MODEL for virtual tokens of another width than the base model's,
// INVALID_SPEC for a task that the adapter does not have.
std::shared_ptr<const AdapterWeights> load_adapter_weights(const std::filesystem::path& folder,
                                                           const model::Architecture& architecture, int64_t task);

}  // namespace slipway::runtime
