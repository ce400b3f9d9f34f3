// Llama 2 and 3, SmolLM2, Mistral.
#include <array>

#include "agents/engine/model/family.h"
#include "agents/engine/model/rope.h"

namespace slipway::model {
namespace {

void llama_from_config(const ConfigReader& reader, Architecture& architecture) {
  read_common_sizes(reader, architecture);
  architecture.activation = activation_from(reader.text("hidden_act", "silu"), reader.origin());
  architecture.attention_bias = reader.boolean("attention_bias", false);
  architecture.attention_output_bias = architecture.attention_bias;
  architecture.mlp_bias = reader.boolean("mlp_bias", false);
  read_rope(reader, architecture);
}

void mistral_from_config(const ConfigReader& reader, Architecture& architecture) {
  read_common_sizes(reader, architecture);
  if (reader.find("num_key_value_heads") == nullptr) architecture.num_key_value_heads = 8;
  if (reader.find("max_position_embeddings") == nullptr) architecture.max_position_embeddings = 131072;
  architecture.activation = activation_from(reader.text("hidden_act", "silu"), reader.origin());
  read_rope(reader, architecture);
  read_window(reader, architecture, 4096, [](int64_t) { return true; });
}

void from_gguf(const GgufFile& file, Architecture& architecture) {
  architecture.attention_bias = file.find_tensor("blk.0.attn_q.bias") != nullptr;
  architecture.attention_output_bias = file.find_tensor("blk.0.attn_output.bias") != nullptr;
  architecture.mlp_bias = file.find_tensor("blk.0.ffn_gate.bias") != nullptr;
}

void llama_to_config(const Architecture& architecture, nlohmann::ordered_json& config) {
  config["architectures"] = {"LlamaForCausalLM"};
  write_common_sizes(architecture, config);
  config["attention_bias"] = architecture.attention_bias;
  config["mlp_bias"] = architecture.mlp_bias;
  write_rope(architecture, config);
}

void mistral_to_config(const Architecture& architecture, nlohmann::ordered_json& config) {
  config["architectures"] = {"MistralForCausalLM"};
  write_common_sizes(architecture, config);
  config["sliding_window"] = nullptr;
  write_rope(architecture, config);
}

constexpr std::array<std::string_view, 1> kLlama = {"llama"};
constexpr std::array<std::string_view, 1> kMistral = {"mistral"};

}  // namespace

const Family kLlamaFamily = {kLlama, kLlama, llama_from_config, from_gguf, llama_to_config, llama_place, nullptr};
// In GGUF, Mistral is a "llama".
const Family kMistralFamily = {kMistral, {}, mistral_from_config, nullptr, mistral_to_config, llama_place, nullptr};

}  // namespace slipway::model
