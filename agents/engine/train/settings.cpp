#include "agents/engine/train/settings.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "backend/base/error.h"
#include "backend/base/sha256.h"

namespace slipway::train {

namespace {

using nlohmann::json;

base::Error wrong(const std::string& message, const std::string& advice) {
  return {base::kInvalidSpec, message, advice};
}

DataFormat data_format(const std::string& name) {
  if (name == "messages") return DataFormat::kMessages;
  if (name == "text") return DataFormat::kText;
  if (name == "prompt_completion") return DataFormat::kPromptCompletion;
  throw wrong("data: unknown format '" + name + "'", "use messages, text or prompt_completion");
}

std::vector<DataSource> sources(const json& list) {
  std::vector<DataSource> result;
  for (const json& item : list) {
    result.push_back({item.at("path").get<std::string>(), data_format(item.value("format", "messages"))});
  }
  return result;
}

// Takes spec[key] into `target` when it is there.
template <typename T>
void take(const json& object, const char* key, T& target) {
  if (const auto it = object.find(key); it != object.end() && !it->is_null()) target = it->get<T>();
}

// What may change between two starts on one workdir without changing the numbers.
std::string fingerprint_of(json spec) {
  spec.erase("output");
  if (spec.contains("training")) {
    for (const char* key : {"logging_steps", "eval_steps", "save_steps", "save_total_limit"})
      spec["training"].erase(key);
  }
  if (spec.contains("data")) spec["data"].erase("validation");
  return base::sha256_hex(spec.dump());
}

}  // namespace

double MethodSettings::scaling() const {
  const double rank = static_cast<double>(r);
  return lora_alpha / (use_rslora ? std::sqrt(rank) : rank);
}

TrainSettings settings_from_spec(const json& spec) {
  TrainSettings s;
  s.model_path = spec.at("model").at("path").get<std::string>();
  s.train = sources(spec.at("data").at("train"));
  if (spec.at("data").contains("validation")) s.validation = sources(spec.at("data").at("validation"));

  const json method = spec.value("method", json::object());
  const std::string type = method.value("type", "lora");
  if (type == "lora") {
    s.method.type = MethodType::kLora;
  } else if (type == "full") {
    s.method.type = MethodType::kFull;
  } else {
    throw wrong("method.type: unknown method '" + type + "'", "use lora or full");
  }
  take(method, "r", s.method.r);
  take(method, "lora_alpha", s.method.lora_alpha);
  take(method, "lora_dropout", s.method.lora_dropout);
  take(method, "use_rslora", s.method.use_rslora);
  take(method, "target_modules", s.method.target_modules);
  take(method, "init_adapter", s.method.init_adapter);
  if (s.method.target_modules.empty()) {
    s.method.target_modules = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};
  }

  const json training = spec.value("training", json::object());
  take(training, "num_train_epochs", s.num_train_epochs);
  take(training, "max_steps", s.max_steps);
  take(training, "per_device_train_batch_size", s.batch_size);
  take(training, "gradient_accumulation_steps", s.gradient_accumulation_steps);
  take(training, "learning_rate", s.learning_rate);
  s.schedule = schedule_type(training.value("lr_scheduler_type", "cosine"));
  take(training, "warmup_steps", s.warmup_steps);
  take(training, "warmup_ratio", s.warmup_ratio);
  if (const std::string optimizer = training.value("optim", "adamw"); optimizer != "adamw") {
    throw wrong("training.optim: unknown optimizer '" + optimizer + "'", "use adamw");
  }
  take(training, "weight_decay", s.weight_decay);
  take(training, "adam_beta1", s.adam_beta1);
  take(training, "adam_beta2", s.adam_beta2);
  take(training, "adam_epsilon", s.adam_epsilon);
  take(training, "max_grad_norm", s.max_grad_norm);
  take(training, "max_length", s.max_length);
  take(training, "packing", s.packing);
  take(training, "assistant_only_loss", s.assistant_only_loss);
  take(training, "completion_only_loss", s.completion_only_loss);
  take(training, "shuffle", s.shuffle);
  const std::string precision = training.value("precision", "auto");
  s.precision = precision == "f32" ? Precision::kF32 : precision == "bf16" ? Precision::kBF16 : Precision::kAuto;
  take(training, "gradient_checkpointing", s.gradient_checkpointing);
  take(training, "logging_steps", s.logging_steps);
  take(training, "eval_steps", s.eval_steps);
  take(training, "save_steps", s.save_steps);
  take(training, "save_total_limit", s.save_total_limit);
  take(training, "seed", s.seed);

  if (const json parallel = spec.value("parallel", json::object()); parallel.value("ranks", 1) != 1) {
    throw wrong("parallel.ranks: only 1 rank is supported", "set parallel.ranks to 1");
  }
  const json output = spec.value("output", json::object());
  take(output, "adapter", s.adapter_output);
  take(output, "merged", s.merged_output);

  if (s.max_steps <= 0 && s.num_train_epochs <= 0) {
    throw wrong("training: neither num_train_epochs nor max_steps is above 0", "set one of them");
  }
  if (s.method.type == MethodType::kFull) {
    s.adapter_output.clear();  // there is no adapter
    if (s.merged_output.empty()) s.merged_output = "out/merged";
  }
  if (s.adapter_output.empty() && s.merged_output.empty()) {
    throw wrong("output: nothing would be written", "set output.adapter, output.merged or both");
  }
  s.fingerprint = fingerprint_of(spec);
  return s;
}

}  // namespace slipway::train
