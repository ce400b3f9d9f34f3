// The checked spec of a training job as plain values. Made by prepare.cpp from contracts' train.json.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "agents/engine/model/adapter_modules.h"
#include "agents/engine/text/training_rows.h"
#include "agents/engine/train/optimizers/schedule.h"

namespace slipway::train {

enum class MethodType { kLora, kFull, kPrompt };
// What virtual tokens begin as: normal numbers, the embeddings of a text, or those of drawn tokens.
enum class PromptInit { kRandom, kText, kSampleVocabulary };
enum class ObjectiveType { kSupervised, kDpo, kOrpo, kKto, kReward };
enum class OptimizerType { kAdamW, kAdamW8Bit, kAdafactor, kLion, kMuon };
enum class Precision { kAuto, kF32, kBF16 };
enum class DeviceChoice { kAuto, kCpu, kCuda };
// Of the frozen weights of linear layers; see decoder/quantized_weight.h.
enum class Quantization { kNone, kNf4, kInt8 };
enum class Strategy { kReplicated, kFullySharded };

struct DataSource {
  std::string path;  // as in the spec, relative to the workdir
  text::RowFormat format = text::RowFormat::kMessages;
  double weight = 1;
};

// Prompt tuning, with PEFT's names; see decoder/virtual_tokens.h.
struct PromptSettings {
  int64_t num_virtual_tokens = 0;
  PromptInit init = PromptInit::kRandom;
  std::string init_text;
  int64_t num_tasks = 0, num_ranks = 0;  // 0: all rows share one prompt
};

struct LoraShape {
  int64_t rank = 0;
  double alpha = 0;
};

struct MethodSettings {
  MethodType type = MethodType::kLora;
  int64_t r = 16;
  double lora_alpha = 32;
  double lora_dropout = 0.0;
  bool use_rslora = false;
  bool use_dora = false;
  double loraplus_lr_ratio = 1.0;
  std::vector<std::string> target_modules;
  std::vector<int64_t> layers_to_transform;  // empty: all
  // Of an adapter to start from whose layers differ, by module as the files name it: rank (at most r) and alpha.
  std::map<std::string, LoraShape> own_shapes;
  std::string init_adapter;  // empty: a fresh adapter
  Quantization quantization = Quantization::kNone;
  bool double_quantization = true;
  int64_t freeze_layers = 0;       // full: from the first on
  bool freeze_embeddings = false;  // full

  PromptSettings prompt;

  LoraShape shape_of(const std::string& module) const;
  // alpha / rank, or alpha / sqrt(rank) for rsLoRA.
  double scaling(const std::string& module) const;
  // Whether the layer gets an adapter.
  bool adapts(const model::AdapterModule& module) const;
  // So many rows are trained before each document.
  int64_t virtual_tokens() const { return type == MethodType::kPrompt ? prompt.num_virtual_tokens : 0; }
};

// Formulas: objective.h.
struct ObjectiveSettings {
  ObjectiveType type = ObjectiveType::kSupervised;
  double beta = 0.1;
  double label_smoothing = 0;                           // dpo
  bool ipo = false;                                     // dpo
  bool reference_free = false;                          // dpo
  double desirable_weight = 1, undesirable_weight = 1;  // kto
  double center_rewards_coefficient = 0;                // reward

  bool compares_with_reference() const {
    return (type == ObjectiveType::kDpo && !reference_free) || type == ObjectiveType::kKto;
  }
};

struct TrainSettings {
  std::string model_path;
  std::vector<DataSource> train, validation;
  std::string cache;  // folder for tokens
  MethodSettings method;
  ObjectiveSettings objective;

  double num_train_epochs = 1;
  int64_t max_steps = -1;  // above 0: wins over epochs
  int64_t batch_size = 4;
  int64_t gradient_accumulation_steps = 1;
  double learning_rate = 2e-4;
  ScheduleSettings schedule;
  OptimizerType optimizer = OptimizerType::kAdamW;
  double weight_decay = 0, adam_beta1 = 0.9, adam_beta2 = 0.999, adam_epsilon = 1e-8;
  double max_grad_norm = 1.0;  // 0: never clipped
  int64_t max_length = 512;
  bool packing = true;
  bool assistant_only_loss = true;   // conversations: only the assistant's tokens are trained
  bool completion_only_loss = true;  // prompt_completion: only the completion is trained
  bool shuffle = true;
  Precision precision = Precision::kAuto;
  DeviceChoice device = DeviceChoice::kAuto;
  bool gradient_checkpointing = false;
  double neftune_noise_alpha = 0;                             // 0: no noise
  int64_t logging_steps = 1, eval_steps = 0, save_steps = 0;  // 0: never
  int64_t save_total_limit = 0;                               // 0: all are kept
  bool load_best_model_at_end = false;
  int64_t early_stopping_patience = 0;  // evaluations; 0: never
  double early_stopping_threshold = 0;
  std::vector<std::string> sample_prompts;
  int64_t sample_max_new_tokens = 64;
  uint64_t seed = 42;
  int64_t ranks = 1;  // the global batch is batch_size · gradient_accumulation_steps · ranks, however many there are
  Strategy strategy = Strategy::kReplicated;

  std::string adapter_output, merged_output, gguf_output;  // empty: not written

  // SHA-256 over what decides the numbers: two specs with one hash continue each other's checkpoints.
  std::string fingerprint;

  std::string parameter_file() const {
    return method.type == MethodType::kFull ? "model.safetensors" : "adapter_model.safetensors";
  }
};

// From a spec that has passed the schema, defaults filled in. Throws base::Error INVALID_SPEC for what a schema cannot
// say (no output at all, an objective without preferences).
TrainSettings settings_from_spec(const nlohmann::json& spec);

}  // namespace slipway::train
