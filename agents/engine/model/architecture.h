// One plain description of a decoder, from config.json or GGUF metadata. runtime/ and train/ each build their one
// generic decoder from it, so a new family is a mapping in families/ plus its parity test.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace slipway::model {

enum class Activation { kSilu, kGelu, kGeluTanh };
enum class NormKind { kRms, kLayer };           // LayerNorm has a bias
enum class PositionKind { kRotary, kLearned };  // learned: a row per position is added to the embedding
enum class RopeScaling { kNone, kLinear, kLlama3, kYarn, kLongRope };

// How the angles of a rotary embedding follow from the position.
struct Rope {
  double theta = 10000.0;
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1.0;
  double low_freq_factor = 1.0;   // llama3
  double high_freq_factor = 4.0;  // llama3
  double beta_fast = 32.0;        // yarn
  double beta_slow = 1.0;         // yarn
  bool truncate = true;           // yarn
  int64_t original_max_position = 8192;
  std::vector<double> short_factors;  // longrope: divisors, one per frequency
  double attention_factor = 1.0;      // cosines and sines are multiplied by it
};

struct Architecture {
  std::string family;  // Hugging Face's model_type: llama, qwen3, …
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;
  int64_t max_position_embeddings = 0;

  NormKind norm = NormKind::kRms;
  double rms_norm_eps = 1e-5;      // of all norms, of either kind
  bool query_key_norm = false;     // RMS over each query's and key's head before the rotation
  bool output_norms = false;       // attention's and MLP's results are normalized before they are added
  bool parallel_residual = false;  // the MLP reads what attention reads, not attention's result

  PositionKind positions = PositionKind::kRotary;
  int64_t rotary_dim = 0;  // the first elements of each head are rotated, the rest is not
  Rope rope;
  Rope local_rope;  // of layers with a sliding window; equal to `rope` in most families

  double attention_scale = 0;         // scores are multiplied by it: mostly 1/√head_dim
  double attention_softcap = 0;       // scores become cap · tanh(score / cap); 0: they stay
  double logit_softcap = 0;           // likewise the logits
  int64_t sliding_window = 0;         // positions that a windowed layer sees, its own included; 0: all layers see all
  std::vector<bool> windowed_layers;  // which layers have the window; empty when sliding_window is 0

  Activation activation = Activation::kSilu;
  bool gated_mlp = true;        // activation(gate) · up, else activation(up)
  bool attention_bias = false;  // of queries, keys and values
  bool attention_output_bias = false;
  bool mlp_bias = false;
  double embedding_scale = 1.0;  // token embeddings are multiplied by it
  bool tie_word_embeddings = false;

  std::vector<int32_t> eos_token_ids;
  int32_t bos_token_id = -1;
  int32_t pad_token_id = -1;
  std::filesystem::path path;    // where load_architecture() found it; empty when it came from a config alone
  nlohmann::json source_config;  // config.json as it was read, for exports; null when the model came from GGUF

  bool is_windowed(int64_t layer) const { return sliding_window > 0 && windowed_layers[static_cast<size_t>(layer)]; }
  const Rope& rope_of(int64_t layer) const { return is_windowed(layer) ? local_rope : rope; }

  // Number of parameters, tied ones counted once.
  int64_t parameter_count() const;
};

// From a parsed config.json (Hugging Face). `origin` names the file in errors. Throws base::Error: INVALID_MODEL with
// the key, or UNSUPPORTED with the list of known families.
Architecture architecture_from_config(const nlohmann::json& config, const std::string& origin);

// The reverse, for exported folders: a config.json that transformers loads unchanged. What was read from one keeps the
// keys that are unknown here.
nlohmann::ordered_json config_from_architecture(const Architecture& architecture, const std::string& torch_dtype);

// From a Hugging Face folder, a .gguf or a .slipway file.
Architecture load_architecture(const std::filesystem::path& path);

// The inverse frequencies of a rotary embedding over `rotary_dim` elements, rotary_dim/2 of them, scaling applied (as
// transformers' rope utilities). The second form is that of the layers without a window.
std::vector<float> rope_inverse_frequencies(const Rope& rope, int64_t rotary_dim);
std::vector<float> rope_inverse_frequencies(const Architecture& architecture);

}  // namespace slipway::model
