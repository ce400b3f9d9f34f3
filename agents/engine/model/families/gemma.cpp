// Gemma 2 and the text half of Gemma 3: norms before and after attention and MLP whose weights count from one, scaled
// embeddings, layers with and without a window in turn; Gemma 2 caps its scores, Gemma 3 normalizes its heads and
// rotates layers with and without a window differently.
#include <array>
#include <cmath>

#include "agents/engine/model/family.h"
#include "agents/engine/model/rope.h"

namespace slipway::model {
namespace {

constexpr int64_t kGemma3Pattern = 6;  // every sixth layer sees everything
constexpr int64_t kGemma2LargestLayers = 46, kGemma3LargestLayers = 62;

void read_gemma(const ConfigReader& reader, Architecture& architecture) {
  read_common_sizes(reader, architecture);
  architecture.activation = activation_from(reader.text("hidden_activation", "gelu_pytorch_tanh"), reader.origin());
  if (reader.find("head_dim") == nullptr) architecture.head_dim = 256;
  architecture.attention_bias = reader.boolean("attention_bias", false);
  architecture.attention_output_bias = architecture.attention_bias;
  architecture.tie_word_embeddings = reader.boolean("tie_word_embeddings", true);
  architecture.output_norms = true;
  architecture.embedding_scale = std::sqrt(static_cast<double>(architecture.hidden_size));
  const double scalar = reader.number("query_pre_attn_scalar", 256);
  if (!(scalar > 0)) fail_config(reader.origin(), "query_pre_attn_scalar is not above 0");
  architecture.attention_scale = 1 / std::sqrt(scalar);
  if (reader.boolean("use_bidirectional_attention", false)) {
    fail_unsupported(reader.origin(), "use_bidirectional_attention is true", "decoders, whose tokens see those before");
  }
}

void gemma2_from_config(const ConfigReader& reader, Architecture& architecture) {
  read_gemma(reader, architecture);
  if (reader.find("max_position_embeddings") == nullptr) architecture.max_position_embeddings = 8192;
  if (reader.find("num_key_value_heads") == nullptr) architecture.num_key_value_heads = 4;
  architecture.attention_softcap =
      reader.is_null("attn_logit_softcapping") ? 0 : reader.number("attn_logit_softcapping", 50);
  architecture.logit_softcap =
      reader.is_null("final_logit_softcapping") ? 0 : reader.number("final_logit_softcapping", 30);
  read_rope(reader, architecture);
  read_window(reader, architecture, 4096, [](int64_t layer) { return (layer + 1) % 2 != 0; });
}

// rope_parameters by kind of layer (transformers 5), or rope_theta, rope_scaling and rope_local_base_freq.
void read_two_ropes(const ConfigReader& reader, Architecture& architecture) {
  const double theta = reader.number("rope_theta", 1e6), local_theta = reader.number("rope_local_base_freq", 1e4);
  const auto rule = [&](const nlohmann::json* object, const std::string& key, double otherwise) {
    static const nlohmann::json kEmpty = nlohmann::json::object();
    if (object != nullptr && !object->is_object()) fail_config(reader.origin(), "the key " + key + " is no object");
    return read_rope_rule(ConfigReader(object == nullptr ? kEmpty : *object, reader.origin(), key + "."), architecture,
                          otherwise, 1.0);
  };
  const auto* parameters = reader.find("rope_parameters");
  if (parameters != nullptr && !parameters->is_object())
    fail_config(reader.origin(), "the key rope_parameters is no object");
  const auto kind = [&](const char* name) -> const nlohmann::json* {
    const auto found = parameters->find(name);
    return found == parameters->end() || found->is_null() ? nullptr : &*found;
  };
  if (parameters != nullptr) {
    architecture.local_rope = rule(kind("sliding_attention"), "rope_parameters.sliding_attention", local_theta);
    architecture.rope = rule(kind("full_attention"), "rope_parameters.full_attention", theta);
  } else {
    architecture.local_rope = rule(nullptr, "rope_scaling", local_theta);
    architecture.rope = rule(reader.find("rope_scaling"), "rope_scaling", theta);
  }
}

void gemma3_from_config(const ConfigReader& whole_reader, Architecture& architecture) {
  // Models that also see images keep the decoder's description in text_config.
  const auto* inner = whole_reader.find("text_config");
  if (inner != nullptr && !inner->is_object()) fail_config(whole_reader.origin(), "the key text_config is no object");
  const ConfigReader inner_reader(inner == nullptr ? whole_reader.object() : *inner, whole_reader.origin(),
                                  inner == nullptr ? "" : "text_config.");
  read_gemma(inner_reader, architecture);
  if (inner_reader.find("max_position_embeddings") == nullptr) architecture.max_position_embeddings = 131072;
  if (inner_reader.find("num_key_value_heads") == nullptr) architecture.num_key_value_heads = 4;
  architecture.query_key_norm = true;
  architecture.logit_softcap = inner_reader.number("final_logit_softcapping", 0);
  read_two_ropes(inner_reader, architecture);
  read_window(inner_reader, architecture, 4096, [](int64_t) { return true; });
  if (architecture.sliding_window == 0 || inner_reader.find("layer_types") != nullptr) return;
  const int64_t pattern = inner_reader.integer("sliding_window_pattern", kGemma3Pattern);
  if (pattern < 1) fail_config(inner_reader.origin(), "sliding_window_pattern is not above 0");
  for (int64_t layer = 0; layer < static_cast<int64_t>(architecture.windowed_layers.size()); ++layer)
    architecture.windowed_layers[static_cast<size_t>(layer)] = (layer + 1) % pattern != 0;
}

// The largest size of each generation scales by the width of a head as the hidden state has it.
double scale_in_gguf(const Architecture& architecture, int64_t largest_layers) {
  const int64_t divisor = architecture.num_hidden_layers == largest_layers
                              ? architecture.hidden_size / std::max<int64_t>(architecture.num_attention_heads, 1)
                              : architecture.head_dim;
  return 1 / std::sqrt(static_cast<double>(std::max<int64_t>(divisor, 1)));
}

double gemma2_scale(const Architecture& architecture) { return scale_in_gguf(architecture, kGemma2LargestLayers); }
double gemma3_scale(const Architecture& architecture) { return scale_in_gguf(architecture, kGemma3LargestLayers); }

void read_gguf(const GgufFile& file, Architecture& architecture, int64_t pattern) {
  architecture.activation = Activation::kGeluTanh;
  architecture.output_norms = true;
  architecture.embedding_scale = std::sqrt(static_cast<double>(architecture.hidden_size));
  architecture.attention_scale = gguf_attention_scale(architecture);
  architecture.attention_softcap = file.find_float(gguf_key(file, "attn_logit_softcapping")).value_or(0);
  architecture.logit_softcap = file.find_float(gguf_key(file, "final_logit_softcapping")).value_or(0);
  const int64_t window = file.find_int(gguf_key(file, "attention.sliding_window")).value_or(0);
  if (window == 0) return;
  architecture.sliding_window = window;
  for (int64_t layer = 0; layer < std::min<int64_t>(architecture.num_hidden_layers, 1 << 12); ++layer)
    architecture.windowed_layers.push_back((layer + 1) % pattern != 0);
}

void gemma2_from_gguf(const GgufFile& file, Architecture& architecture) { read_gguf(file, architecture, 2); }

void gemma3_from_gguf(const GgufFile& file, Architecture& architecture) {
  architecture.family = "gemma3_text";
  read_gguf(file, architecture, kGemma3Pattern);
  architecture.query_key_norm = true;
  architecture.local_rope = Rope{};
  architecture.local_rope.theta = file.find_float(gguf_key(file, "rope.freq_base_swa")).value_or(1e4);
}

void to_config(const Architecture& architecture, nlohmann::ordered_json& config) {
  const bool third = architecture.query_key_norm;
  config["architectures"] = {third ? "Gemma3ForCausalLM" : "Gemma2ForCausalLM"};
  write_common_sizes(architecture, config);
  config["hidden_activation"] = config["hidden_act"];
  config["query_pre_attn_scalar"] =
      static_cast<int64_t>(std::lround(1 / (architecture.attention_scale * architecture.attention_scale)));
  const auto cap_or_null = [](double cap) { return cap > 0 ? nlohmann::ordered_json(cap) : nlohmann::ordered_json(); };
  config["attn_logit_softcapping"] = cap_or_null(architecture.attention_softcap);
  config["final_logit_softcapping"] = cap_or_null(architecture.logit_softcap);
  write_rope(architecture, config);
  if (third) config["rope_local_base_freq"] = architecture.local_rope.theta;
  config["sliding_window"] = architecture.sliding_window > 0 ? architecture.sliding_window : 4096;
  config["layer_types"] = nlohmann::ordered_json::array();
  for (int64_t layer = 0; layer < architecture.num_hidden_layers; ++layer)
    config["layer_types"].push_back(architecture.is_windowed(layer) ? "sliding_attention" : "full_attention");
}

TensorPlace place(const Architecture& architecture, const DecoderTensor& tensor) {
  TensorPlace place;
  switch (tensor.role) {
    case Role::kAttentionOutputNorm:
      place = whole("model.layers.{}.post_attention_layernorm", tensor);
      break;
    case Role::kMlpNorm:
      place = whole("model.layers.{}.pre_feedforward_layernorm", tensor);
      break;
    case Role::kMlpOutputNorm:
      place = whole("model.layers.{}.post_feedforward_layernorm", tensor);
      break;
    default:
      place = llama_place(architecture, tensor);
  }
  switch (tensor.role) {
    case Role::kAttentionNorm:
    case Role::kAttentionOutputNorm:
    case Role::kMlpNorm:
    case Role::kMlpOutputNorm:
    case Role::kFinalNorm:
    case Role::kQueryNorm:
    case Role::kKeyNorm:
      place.plus = 1;
      break;
    default:
      break;
  }
  return place;
}

constexpr std::array<std::string_view, 1> kGemma2 = {"gemma2"};
constexpr std::array<std::string_view, 2> kGemma3 = {"gemma3_text", "gemma3"};
constexpr std::array<std::string_view, 1> kGemma3Gguf = {"gemma3"};

}  // namespace

const Family kGemma2Family = {kGemma2, kGemma2, gemma2_from_config, gemma2_from_gguf, to_config,
                              place,   nullptr, gemma2_scale};
const Family kGemma3Family = {kGemma3, kGemma3Gguf, gemma3_from_config, gemma3_from_gguf, to_config,
                              place,   nullptr,     gemma3_scale};

}  // namespace slipway::model
