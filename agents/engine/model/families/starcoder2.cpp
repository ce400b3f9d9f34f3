// StarCoder2: LayerNorm and biases throughout, an MLP without a gate.
#include <array>

#include "agents/engine/model/family.h"
#include "agents/engine/model/rope.h"

namespace slipway::model {
namespace {

void describe(Architecture& architecture, bool biases) {
  architecture.norm = NormKind::kLayer;
  architecture.gated_mlp = false;
  architecture.attention_bias = architecture.attention_output_bias = architecture.mlp_bias = biases;
}

void from_config(const ConfigReader& reader, Architecture& architecture) {
  read_common_sizes(reader, architecture);
  if (reader.find("num_key_value_heads") == nullptr) architecture.num_key_value_heads = 2;
  if (reader.find("max_position_embeddings") == nullptr) architecture.max_position_embeddings = 4096;
  architecture.rms_norm_eps = reader.number("norm_epsilon", 1e-5);
  architecture.activation = activation_from(reader.text("hidden_act", "gelu_pytorch_tanh"), reader.origin());
  architecture.tie_word_embeddings = reader.boolean("tie_word_embeddings", true);
  describe(architecture, reader.boolean("use_bias", true));
  read_rope(reader, architecture);
  read_window(reader, architecture, 0, [](int64_t) { return true; });
}

void from_gguf(const GgufFile& file, Architecture& architecture) {
  architecture.activation = Activation::kGeluTanh;
  describe(architecture, file.find_tensor("blk.0.attn_q.bias") != nullptr);
}

void to_config(const Architecture& architecture, nlohmann::ordered_json& config) {
  config["architectures"] = {"Starcoder2ForCausalLM"};
  write_common_sizes(architecture, config);
  for (const char* key : {"head_dim", "rms_norm_eps"}) config.erase(key);
  config["norm_epsilon"] = architecture.rms_norm_eps;
  config["use_bias"] = architecture.attention_bias;
  config["sliding_window"] = nullptr;
  write_rope(architecture, config);
}

TensorPlace place(const Architecture& architecture, const DecoderTensor& tensor) {
  if (tensor.role == Role::kUp) return whole("model.layers.{}.mlp.c_fc", tensor);
  if (tensor.role == Role::kDown) return whole("model.layers.{}.mlp.c_proj", tensor);
  return llama_place(architecture, tensor);
}

constexpr std::array<std::string_view, 1> kStarcoder2 = {"starcoder2"};

}  // namespace

const Family kStarcoder2Family = {kStarcoder2, kStarcoder2, from_config, from_gguf, to_config, place, nullptr};

}  // namespace slipway::model
