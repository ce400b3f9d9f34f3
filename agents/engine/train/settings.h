// The checked spec of a training job as plain values. Made by trainer.cpp from contracts' train.json.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "agents/engine/train/schedule.h"

namespace slipway::train {

enum class DataFormat { kMessages, kText, kPromptCompletion };
enum class MethodType { kLora, kFull };
enum class Precision { kAuto, kF32, kBF16 };

struct DataSource {
  std::string path;  // as in the spec, relative to the workdir
  DataFormat format = DataFormat::kMessages;
};

struct MethodSettings {
  MethodType type = MethodType::kLora;
  int64_t r = 16;
  double lora_alpha = 32;
  double lora_dropout = 0.0;
  bool use_rslora = false;
  std::vector<std::string> target_modules;
  std::string init_adapter;  // empty: a fresh adapter

  double scaling() const;
};

struct TrainSettings {
  std::string model_path;
  std::vector<DataSource> train, validation;
  MethodSettings method;

  double num_train_epochs = 1;
  int64_t max_steps = -1;  // above 0: wins over epochs
  int64_t batch_size = 4;
  int64_t gradient_accumulation_steps = 1;
  double learning_rate = 2e-4;
  ScheduleType schedule = ScheduleType::kCosine;
  int64_t warmup_steps = 0;
  double warmup_ratio = 0;  // of all steps, when warmup_steps is 0
  double weight_decay = 0, adam_beta1 = 0.9, adam_beta2 = 0.999, adam_epsilon = 1e-8;
  double max_grad_norm = 1.0;  // 0: never clipped
  int64_t max_length = 512;
  bool packing = true;
  bool assistant_only_loss = true;   // messages: only the assistant's tokens are trained
  bool completion_only_loss = true;  // prompt_completion: only the completion is trained
  bool shuffle = true;
  Precision precision = Precision::kAuto;
  bool gradient_checkpointing = false;
  int64_t logging_steps = 1, eval_steps = 0, save_steps = 0;  // 0: never
  int64_t save_total_limit = 0;                               // 0: all are kept
  uint64_t seed = 42;

  std::string adapter_output, merged_output;  // empty: not written

  // SHA-256 over what decides the numbers: two specs with one hash continue each other's checkpoints.
  std::string fingerprint;
};

// From a spec that has passed the schema, defaults filled in. Throws base::Error INVALID_SPEC for what a schema cannot
// say (no output at all, more ranks than there are).
TrainSettings settings_from_spec(const nlohmann::json& spec);

}  // namespace slipway::train
