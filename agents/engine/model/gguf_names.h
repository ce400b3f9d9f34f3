// How GGUF spells a decoder's tensors, and which of them it stores with permuted rows. Used by weights.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace slipway::model {

// The decoder's name (decoder_tensors.h) of a tensor of a GGUF file; self_attn.qkv_proj where query, key and value lie
// in one. Nothing for one that is no weight of ours (rope_freqs.weight).
std::optional<std::string> decoder_name(std::string_view gguf_name);

// The reverse: GGUF's name of a tensor that decoder_name() knows.
std::string gguf_name(std::string_view decoder_name);

// True for the q_proj and k_proj tensors, whose rows the GGUF converter interleaves in Llama files for its rotary
// kernel.
bool has_permuted_rows(std::string_view decoder_name);

// Where, among the `rows` of such a tensor with so many heads, the converter puts a row: per head, rows 0, d/2, 1,
// d/2 + 1, … follow each other, so that rotated pairs are neighbours.
int64_t permuted_row(int64_t row, int64_t rows, int64_t heads);

}  // namespace slipway::model
