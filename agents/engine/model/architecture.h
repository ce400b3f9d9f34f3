// One plain description of a decoder, from config.json or GGUF metadata. runtime/ and train/ each build their one
// generic decoder from it, so a new family is a mapping here plus its parity test.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace slipway::model {

enum class Activation { kSilu, kGelu, kGeluTanh };
enum class RopeScaling { kNone, kLinear, kLlama3 };

struct Architecture {
  std::string family;  // Hugging Face's model_type: llama, …
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-5;
  double rope_theta = 10000.0;
  RopeScaling rope_scaling = RopeScaling::kNone;
  double rope_scaling_factor = 1.0;
  double rope_low_freq_factor = 1.0;
  double rope_high_freq_factor = 4.0;
  int64_t rope_original_max_position = 8192;
  Activation activation = Activation::kSilu;
  bool attention_bias = false;
  bool mlp_bias = false;
  bool tie_word_embeddings = false;
  std::vector<int32_t> eos_token_ids;
  int32_t bos_token_id = -1;
  int32_t pad_token_id = -1;

  // Number of parameters, tied ones counted once.
  int64_t parameter_count() const;
};

// From a parsed config.json (Hugging Face). `origin` names the file in errors. Throws base::Error: INVALID_MODEL with
// the key, or UNSUPPORTED with the list of known families.
Architecture architecture_from_config(const nlohmann::json& config, const std::string& origin);

// The reverse, for exported folders: a config.json that transformers loads unchanged.
nlohmann::ordered_json config_from_architecture(const Architecture& architecture, const std::string& torch_dtype);

// From a Hugging Face folder or a .gguf file.
Architecture load_architecture(const std::filesystem::path& path);

// The inverse frequencies of the rotary embedding, head_dim/2 of them, scaling applied (as transformers' rope
// utilities).
std::vector<float> rope_inverse_frequencies(const Architecture& architecture);

}  // namespace slipway::model
