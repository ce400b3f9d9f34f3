// How GGUF spells Llama's tensors, and which of them it stores with permuted rows. Used by weights and architecture.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace slipway::model {

// Hugging Face's name of a tensor of a GGUF file of the Llama architecture; nothing for one that is no weight of ours
// (rope_freqs.weight).
std::optional<std::string> huggingface_name(std::string_view gguf_name);

// True for the q_proj and k_proj tensors, whose rows the GGUF converter interleaves for its rotary kernel.
bool has_permuted_rows(std::string_view huggingface_name);

}  // namespace slipway::model
