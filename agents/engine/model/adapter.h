// PEFT LoRA adapters on disk: adapter_config.json and adapter_model.safetensors.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace slipway::model {

struct AdapterConfig {
  int64_t r = 0;
  double lora_alpha = 0;
  double lora_dropout = 0;
  bool use_rslora = false;
  bool use_dora = false;
  std::vector<std::string> target_modules;        // q_proj, … as PEFT names them
  std::vector<int64_t> layers_to_transform = {};  // empty: all
  bool fan_in_fan_out = false;                    // the base keeps its weights as [in, out]
  std::string base_model_name_or_path;
};

// One adapted linear layer: delta = scaling * B A, A [r, in], B [out, r].
struct AdapterTensor {
  std::string module;  // model.layers.0.self_attn.q_proj
  int64_t rank = 0, in_features = 0, out_features = 0;
  std::vector<float> a, b;
  std::vector<float> magnitude = {};           // DoRA: [out], else empty
  std::optional<double> alpha = std::nullopt;  // its own, else the adapter's
};

// What B·A is multiplied by: alpha / rank, or alpha / sqrt(rank) for rsLoRA.
double lora_scaling(double alpha, int64_t rank, bool use_rslora);

struct Adapter {
  AdapterConfig config;
  std::vector<AdapterTensor> tensors;
  std::vector<float> score = {};  // of a reward model: the weight of its score head, [hidden]; else empty

  double alpha_of(const AdapterTensor& tensor) const { return tensor.alpha.value_or(config.lora_alpha); }
  double scaling(const AdapterTensor& tensor) const {
    return lora_scaling(alpha_of(tensor), tensor.rank, config.use_rslora);
  }
};

// Throws base::Error INVALID_MODEL naming file and key or tensor; UNSUPPORTED for other PEFT types, and for DoRA unless
// the caller applies its magnitudes, and for reward models unless it has use for their score head.
enum class DoraAdapters { kRefused, kTaken };
enum class ScoreHeads { kRefused, kTaken };
Adapter load_adapter(const std::filesystem::path& folder, DoraAdapters dora = DoraAdapters::kRefused,
                     ScoreHeads scores = ScoreHeads::kRefused);

// Writes a folder that `peft` loads unchanged: files in one step each, the config last.
void save_adapter(const std::filesystem::path& folder, const Adapter& adapter);

}  // namespace slipway::model
