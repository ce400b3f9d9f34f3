// GPT-2: learned positions, LayerNorm, an MLP without a gate; linear weights are stored transposed.
#include <array>

#include "agents/engine/model/family.h"

namespace slipway::model {
namespace {

bool is_qkv(Role role) { return role == Role::kQuery || role == Role::kKey || role == Role::kValue; }

void describe(Architecture& architecture) {
  architecture.norm = NormKind::kLayer;
  architecture.positions = PositionKind::kLearned;
  architecture.gated_mlp = false;
  architecture.attention_bias = architecture.attention_output_bias = architecture.mlp_bias = true;
}

void from_config(const ConfigReader& reader, Architecture& architecture) {
  architecture.vocab_size = reader.integer("vocab_size");
  architecture.hidden_size = reader.integer("n_embd");
  architecture.intermediate_size =
      reader.integer("n_inner", 4 * std::min<int64_t>(architecture.hidden_size, int64_t{1} << 40U));
  architecture.num_hidden_layers = reader.integer("n_layer");
  architecture.num_attention_heads = reader.integer("n_head");
  architecture.num_key_value_heads = architecture.num_attention_heads;
  architecture.head_dim = architecture.hidden_size / std::max<int64_t>(architecture.num_attention_heads, 1);
  architecture.max_position_embeddings = reader.integer("n_positions", 1024);
  architecture.rms_norm_eps = reader.number("layer_norm_epsilon", 1e-5);
  architecture.activation = activation_from(reader.text("activation_function", "gelu_new"), reader.origin());
  architecture.tie_word_embeddings = reader.boolean("tie_word_embeddings", true);
  if (!reader.boolean("scale_attn_weights", true)) architecture.attention_scale = 1;
  for (const char* key : {"scale_attn_by_inverse_layer_idx", "add_cross_attention"}) {
    if (reader.boolean(key, false)) fail_unsupported(reader.origin(), std::string(key) + " is true", "false");
  }
  describe(architecture);
}

void from_gguf(const GgufFile&, Architecture& architecture) {
  architecture.activation = Activation::kGeluTanh;
  describe(architecture);
}

void to_config(const Architecture& architecture, nlohmann::ordered_json& config) {
  config["architectures"] = {"GPT2LMHeadModel"};
  config["vocab_size"] = architecture.vocab_size;
  config["n_embd"] = architecture.hidden_size;
  config["n_inner"] = architecture.intermediate_size;
  config["n_layer"] = architecture.num_hidden_layers;
  config["n_head"] = architecture.num_attention_heads;
  config["n_positions"] = architecture.max_position_embeddings;
  config["layer_norm_epsilon"] = architecture.rms_norm_eps;
  config["activation_function"] = "gelu_new";
  config["tie_word_embeddings"] = architecture.tie_word_embeddings;
}

TensorPlace place(const Architecture& architecture, const DecoderTensor& tensor) {
  TensorPlace place;
  switch (tensor.role) {
    case Role::kEmbeddings:
      return whole("transformer.wte", tensor);
    case Role::kPositions:
      return whole("transformer.wpe", tensor);
    case Role::kFinalNorm:
      return whole("transformer.ln_f", tensor);
    case Role::kAttentionNorm:
      return whole("transformer.h.{}.ln_1", tensor);
    case Role::kMlpNorm:
      return whole("transformer.h.{}.ln_2", tensor);
    case Role::kQuery:
    case Role::kKey:
    case Role::kValue:
      place = part_of_qkv("transformer.h.{}.attn.c_attn", architecture, tensor);
      break;
    case Role::kAttentionOutput:
      place = whole("transformer.h.{}.attn.c_proj", tensor);
      break;
    case Role::kUp:
      place = whole("transformer.h.{}.mlp.c_fc", tensor);
      break;
    case Role::kDown:
      place = whole("transformer.h.{}.mlp.c_proj", tensor);
      break;
    default:
      return llama_place(architecture, tensor);
  }
  place.transposed = !tensor.bias;
  return place;
}

TensorPlace gguf_place(const Architecture& architecture, const DecoderTensor& tensor) {
  if (is_qkv(tensor.role)) return part_of_qkv("model.layers.{}.self_attn.qkv_proj", architecture, tensor);
  return llama_place(architecture, tensor);
}

constexpr std::array<std::string_view, 1> kGpt2 = {"gpt2"};

}  // namespace

const Family kGpt2Family = {kGpt2, kGpt2, from_config, from_gguf, to_config, place, gguf_place};

}  // namespace slipway::model
