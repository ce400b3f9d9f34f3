// GPT-NeoX and Pythia: attention and MLP read the same residual, a part of each head is rotated, and query, key and
// value lie head by head in one tensor.
#include <array>

#include "agents/engine/model/family.h"
#include "agents/engine/model/rope.h"

namespace slipway::model {
namespace {

bool is_qkv(Role role) { return role == Role::kQuery || role == Role::kKey || role == Role::kValue; }

void describe(Architecture& architecture) {
  architecture.norm = NormKind::kLayer;
  architecture.gated_mlp = false;
  architecture.mlp_bias = true;
}

void from_config(const ConfigReader& reader, Architecture& architecture) {
  read_common_sizes(reader, architecture);
  architecture.num_key_value_heads = architecture.num_attention_heads;
  architecture.rms_norm_eps = reader.number("layer_norm_eps", 1e-5);
  architecture.activation = activation_from(reader.text("hidden_act", "gelu"), reader.origin());
  architecture.attention_bias = reader.boolean("attention_bias", true);
  architecture.attention_output_bias = architecture.attention_bias;
  architecture.parallel_residual = reader.boolean("use_parallel_residual", true);
  describe(architecture);
  // Older files have names of their own for what others call rope_theta and partial_rotary_factor.
  nlohmann::json config = reader.object();
  if (reader.find("rope_theta") == nullptr) config["rope_theta"] = reader.number("rotary_emb_base", 10000.0);
  if (reader.find("partial_rotary_factor") == nullptr)
    config["partial_rotary_factor"] = reader.number("rotary_pct", 0.25);
  read_rope(ConfigReader(config, reader.origin()), architecture);
}

void from_gguf(const GgufFile& file, Architecture& architecture) {
  architecture.activation = Activation::kGelu;
  architecture.attention_bias = file.find_tensor("blk.0.attn_qkv.bias") != nullptr;
  architecture.attention_output_bias = architecture.attention_bias;
  architecture.parallel_residual = file.find_bool(gguf_key(file, "use_parallel_residual")).value_or(true);
  describe(architecture);
}

void to_config(const Architecture& architecture, nlohmann::ordered_json& config) {
  config["architectures"] = {"GPTNeoXForCausalLM"};
  write_common_sizes(architecture, config);
  for (const char* key : {"num_key_value_heads", "head_dim", "rms_norm_eps"}) config.erase(key);
  config["layer_norm_eps"] = architecture.rms_norm_eps;
  config["attention_bias"] = architecture.attention_bias;
  config["use_parallel_residual"] = architecture.parallel_residual;
  config["rotary_pct"] = static_cast<double>(architecture.rotary_dim) / static_cast<double>(architecture.head_dim);
  config["rotary_emb_base"] = architecture.rope.theta;
  write_rope(architecture, config);
}

TensorPlace place(const Architecture& architecture, const DecoderTensor& tensor) {
  switch (tensor.role) {
    case Role::kEmbeddings:
      return whole("gpt_neox.embed_in", tensor);
    case Role::kFinalNorm:
      return whole("gpt_neox.final_layer_norm", tensor);
    case Role::kOutput:
      return whole("embed_out", tensor);
    case Role::kAttentionNorm:
      return whole("gpt_neox.layers.{}.input_layernorm", tensor);
    case Role::kMlpNorm:
      return whole("gpt_neox.layers.{}.post_attention_layernorm", tensor);
    case Role::kQuery:
    case Role::kKey:
    case Role::kValue: {
      TensorPlace place = part_of_qkv("gpt_neox.layers.{}.attention.query_key_value", architecture, tensor);
      place.run = architecture.head_dim;
      place.stride = 3 * place.run;
      place.first = (tensor.role == Role::kQuery ? 0 : tensor.role == Role::kKey ? 1 : 2) * place.run;
      return place;
    }
    case Role::kAttentionOutput:
      return whole("gpt_neox.layers.{}.attention.dense", tensor);
    case Role::kUp:
      return whole("gpt_neox.layers.{}.mlp.dense_h_to_4h", tensor);
    case Role::kDown:
      return whole("gpt_neox.layers.{}.mlp.dense_4h_to_h", tensor);
    default:
      return llama_place(architecture, tensor);
  }
}

TensorPlace gguf_place(const Architecture& architecture, const DecoderTensor& tensor) {
  if (is_qkv(tensor.role)) return part_of_qkv("model.layers.{}.self_attn.qkv_proj", architecture, tensor);
  return llama_place(architecture, tensor);
}

constexpr std::array<std::string_view, 1> kModelTypes = {"gpt_neox"};
constexpr std::array<std::string_view, 1> kGguf = {"gptneox"};

}  // namespace

const Family kGptNeoxFamily = {kModelTypes, kGguf, from_config, from_gguf, to_config, place, gguf_place};

}  // namespace slipway::model
