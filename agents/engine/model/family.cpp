// What the families share, see family.h.
#include "agents/engine/model/family.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace slipway::model {
namespace {

constexpr std::array kFamilies = {&kLlamaFamily,  &kMistralFamily, &kQwen2Family, &kQwen3Family,   &kGemma2Family,
                                  &kGemma3Family, &kPhi3Family,    &kGpt2Family,  &kGptNeoxFamily, &kStarcoder2Family};

const Family* find_in(std::span<const std::string_view> Family::*names, std::string_view name) {
  for (const Family* family : kFamilies) {
    if (std::ranges::find(family->*names, name) != (family->*names).end()) return family;
  }
  return nullptr;
}

std::string list_of(std::span<const std::string_view> Family::*names) {
  std::string list;
  for (const Family* family : kFamilies) {
    for (const std::string_view name : family->*names) list += (list.empty() ? "" : ", ") + std::string(name);
  }
  return list;
}

}  // namespace

std::span<const Family* const> families() { return kFamilies; }
const Family* find_family(std::string_view model_type) { return find_in(&Family::model_types, model_type); }
const Family* find_gguf_family(std::string_view name) { return find_in(&Family::gguf_architectures, name); }
std::string known_families() { return list_of(&Family::model_types); }
std::string known_gguf_architectures() { return list_of(&Family::gguf_architectures); }

void read_common_sizes(const ConfigReader& reader, Architecture& architecture) {
  architecture.vocab_size = reader.integer("vocab_size");
  architecture.hidden_size = reader.integer("hidden_size");
  architecture.intermediate_size = reader.integer("intermediate_size");
  architecture.num_hidden_layers = reader.integer("num_hidden_layers");
  architecture.num_attention_heads = reader.integer("num_attention_heads");
  architecture.num_key_value_heads = reader.integer("num_key_value_heads", architecture.num_attention_heads);
  const int64_t heads = std::max<int64_t>(architecture.num_attention_heads, 1);
  architecture.head_dim = reader.integer("head_dim", architecture.hidden_size / heads);
  architecture.max_position_embeddings = reader.integer("max_position_embeddings", 2048);
  architecture.rms_norm_eps = reader.number("rms_norm_eps", 1e-6);
}

void write_common_sizes(const Architecture& architecture, nlohmann::ordered_json& config) {
  config["vocab_size"] = architecture.vocab_size;
  config["hidden_size"] = architecture.hidden_size;
  config["intermediate_size"] = architecture.intermediate_size;
  config["num_hidden_layers"] = architecture.num_hidden_layers;
  config["num_attention_heads"] = architecture.num_attention_heads;
  config["num_key_value_heads"] = architecture.num_key_value_heads;
  config["head_dim"] = architecture.head_dim;
  config["max_position_embeddings"] = architecture.max_position_embeddings;
  config["rms_norm_eps"] = architecture.rms_norm_eps;
  config["hidden_act"] = activation_name(architecture.activation);
  config["tie_word_embeddings"] = architecture.tie_word_embeddings;
}

void read_window(const ConfigReader& reader, Architecture& architecture, int64_t window_otherwise,
                 bool (*otherwise)(int64_t layer)) {
  const int64_t window = reader.is_null("sliding_window") ? 0 : reader.integer("sliding_window", window_otherwise);
  if (window == 0) return;
  auto layers = reader.windowed_layers(architecture.num_hidden_layers);
  if (layers.empty()) {
    for (int64_t layer = 0; layer < std::min<int64_t>(architecture.num_hidden_layers, 1 << 12); ++layer)
      layers.push_back(otherwise(layer));
  }
  if (std::ranges::find(layers, true) == layers.end()) return;
  architecture.sliding_window = window;
  architecture.windowed_layers = std::move(layers);
}

TensorPlace whole(std::string_view name, const DecoderTensor& tensor) {
  TensorPlace place;
  place.name = name;
  const size_t hole = place.name.find("{}");
  if (hole != std::string::npos) place.name.replace(hole, 2, std::to_string(tensor.layer));
  place.name += tensor.bias ? ".bias" : ".weight";
  return place;
}

TensorPlace part_of_qkv(std::string_view name, const Architecture& architecture, const DecoderTensor& tensor) {
  const int64_t queries = architecture.num_attention_heads * architecture.head_dim;
  const int64_t keys = architecture.num_key_value_heads * architecture.head_dim;
  TensorPlace place = whole(name, tensor);
  place.file_rows = queries + 2 * keys;
  place.first = tensor.role == Role::kQuery ? 0 : tensor.role == Role::kKey ? queries : queries + keys;
  return place;
}

TensorPlace part_of_gate_up(std::string_view name, const Architecture& architecture, const DecoderTensor& tensor) {
  TensorPlace place = whole(name, tensor);
  place.file_rows = 2 * architecture.intermediate_size;
  place.first = tensor.role == Role::kGate ? 0 : architecture.intermediate_size;
  return place;
}

TensorPlace llama_place(const Architecture&, const DecoderTensor& tensor) {
  TensorPlace place;
  place.name = tensor.name();
  return place;
}

double gguf_attention_scale(const Architecture& architecture) {
  const Family* family = find_family(architecture.family);
  if (family->gguf_attention_scale != nullptr) return family->gguf_attention_scale(architecture);
  return 1 / std::sqrt(static_cast<double>(std::max<int64_t>(architecture.head_dim, 1)));
}

std::string gguf_key(const GgufFile& file, const char* name) {
  return std::string(file.get_string("general.architecture")) + "." + name;
}

double shortest_decimal(double stored) {
  char text[64];
  const auto written = std::to_chars(text, text + sizeof text, static_cast<float>(stored));
  double value = stored;
  std::from_chars(text, written.ptr, value);
  return value;
}

}  // namespace slipway::model
