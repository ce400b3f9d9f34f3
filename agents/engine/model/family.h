// A family of models: how its config.json, its GGUF metadata and its tensors become the one Architecture. One file in
// families/ each. Used by architecture.cpp, architecture_gguf.cpp and decoder_tensors.cpp.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string_view>

#include "agents/engine/model/architecture.h"
#include "agents/engine/model/config_reader.h"
#include "agents/engine/model/decoder_tensors.h"
#include "agents/engine/model/gguf.h"

namespace slipway::model {

struct Family {
  std::span<const std::string_view> model_types;         // of config.json
  std::span<const std::string_view> gguf_architectures;  // general.architecture
  // Fills what is not common to all families: sizes, norms, positions, attention, MLP. Throw base::Error.
  void (*from_config)(const ConfigReader& reader, Architecture& architecture);
  void (*from_gguf)(const GgufFile& file, Architecture& architecture);
  // Writes what from_config reads, for models that came from GGUF.
  void (*to_config)(const Architecture& architecture, nlohmann::ordered_json& config);
  // Where a decoder's tensor lies in a Hugging Face folder.
  TensorPlace (*place)(const Architecture& architecture, const DecoderTensor& tensor);
  // Where it lies in a GGUF, under the names that open_weights() gives those. Null: it has the decoder's name there.
  TensorPlace (*gguf_place)(const Architecture& architecture, const DecoderTensor& tensor);
  // What llama.cpp, whose files have no key for it, scales scores of attention with. Null: 1 / sqrt(head_dim).
  double (*gguf_attention_scale)(const Architecture& architecture) = nullptr;
};

std::span<const Family* const> families();
const Family* find_family(std::string_view model_type);
const Family* find_gguf_family(std::string_view gguf_architecture);
std::string known_families();  // for messages
std::string known_gguf_architectures();

// Sizes under the keys that most families use. Missing ones that have no default throw.
void read_common_sizes(const ConfigReader& reader, Architecture& architecture);
void write_common_sizes(const Architecture& architecture, nlohmann::ordered_json& config);
// sliding_window and layer_types; `otherwise` says which layers have the window when layer_types is missing.
void read_window(const ConfigReader& reader, Architecture& architecture, int64_t window_otherwise,
                 bool (*otherwise)(int64_t layer));

// The place of a tensor that is the whole of `name`; .weight or .bias is appended, {} replaced by the layer.
TensorPlace whole(std::string_view name, const DecoderTensor& tensor);
// That of query, key or value within one tensor that holds all three, one below the other; and of gate or up likewise.
TensorPlace part_of_qkv(std::string_view name, const Architecture& architecture, const DecoderTensor& tensor);
TensorPlace part_of_gate_up(std::string_view name, const Architecture& architecture, const DecoderTensor& tensor);
// The decoder's own name: Llama's.
TensorPlace llama_place(const Architecture& architecture, const DecoderTensor& tensor);

// See Family::gguf_attention_scale.
double gguf_attention_scale(const Architecture& architecture);
// GGUF metadata under `<general.architecture>.name`.
std::string gguf_key(const GgufFile& file, const char* name);
// GGUF stores f32; the decimal that was meant (1e-05, not 9.99999974e-06) is the shortest that reads back the same.
double shortest_decimal(double stored);

extern const Family kLlamaFamily, kMistralFamily, kQwen2Family, kQwen3Family, kGemma2Family, kGemma3Family, kPhi3Family,
    kGpt2Family, kGptNeoxFamily, kStarcoder2Family;

}  // namespace slipway::model
