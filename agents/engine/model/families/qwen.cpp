// Qwen 2 and 2.5: biases on queries, keys and values. Qwen 3: normalized heads instead.
#include <array>

#include "agents/engine/model/family.h"
#include "agents/engine/model/rope.h"

namespace slipway::model {
namespace {

void read_qwen(const ConfigReader& reader, Architecture& architecture) {
  read_common_sizes(reader, architecture);
  if (reader.find("max_position_embeddings") == nullptr) architecture.max_position_embeddings = 32768;
  architecture.activation = activation_from(reader.text("hidden_act", "silu"), reader.origin());
  read_rope(reader, architecture);
  if (!reader.boolean("use_sliding_window", false)) return;
  read_window(reader, architecture, 4096, [](int64_t) { return true; });
  if (architecture.sliding_window == 0 || reader.find("layer_types") != nullptr) return;
  const int64_t full_layers = reader.integer("max_window_layers", 28);
  for (int64_t layer = 0; layer < static_cast<int64_t>(architecture.windowed_layers.size()); ++layer)
    architecture.windowed_layers[static_cast<size_t>(layer)] = layer >= full_layers;
}

void qwen2_from_config(const ConfigReader& reader, Architecture& architecture) {
  read_qwen(reader, architecture);
  if (reader.find("num_key_value_heads") == nullptr) architecture.num_key_value_heads = 32;
  architecture.attention_bias = true;
}

void qwen3_from_config(const ConfigReader& reader, Architecture& architecture) {
  read_qwen(reader, architecture);
  if (reader.find("num_key_value_heads") == nullptr) architecture.num_key_value_heads = 32;
  if (reader.find("head_dim") == nullptr) {
    architecture.head_dim = 128;
    read_rope(reader, architecture);
  }
  architecture.query_key_norm = true;
  architecture.attention_bias = reader.boolean("attention_bias", false);
  architecture.attention_output_bias = architecture.attention_bias;
}

void qwen2_from_gguf(const GgufFile&, Architecture& architecture) { architecture.attention_bias = true; }

void qwen3_from_gguf(const GgufFile& file, Architecture& architecture) {
  architecture.query_key_norm = true;
  architecture.attention_bias = file.find_tensor("blk.0.attn_q.bias") != nullptr;
  architecture.attention_output_bias = file.find_tensor("blk.0.attn_output.bias") != nullptr;
}

void to_config(const Architecture& architecture, nlohmann::ordered_json& config) {
  const bool third = architecture.query_key_norm;
  config["architectures"] = {third ? "Qwen3ForCausalLM" : "Qwen2ForCausalLM"};
  write_common_sizes(architecture, config);
  if (third) {
    config["attention_bias"] = architecture.attention_bias;
  } else {
    config.erase("head_dim");
  }
  config["use_sliding_window"] = false;
  write_rope(architecture, config);
}

constexpr std::array<std::string_view, 1> kQwen2 = {"qwen2"};
constexpr std::array<std::string_view, 1> kQwen3 = {"qwen3"};

}  // namespace

const Family kQwen2Family = {kQwen2, kQwen2, qwen2_from_config, qwen2_from_gguf, to_config, llama_place, nullptr};
const Family kQwen3Family = {kQwen3, kQwen3, qwen3_from_config, qwen3_from_gguf, to_config, llama_place, nullptr};

}  // namespace slipway::model
