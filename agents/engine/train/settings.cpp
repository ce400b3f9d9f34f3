#include "agents/engine/train/settings.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "agents/engine/model/adapter.h"
#include "backend/base/error.h"
#include "backend/base/sha256.h"

namespace slipway::train {

namespace {

using nlohmann::json;

base::Error wrong(const std::string& message, const std::string& advice) {
  return {base::kInvalidSpec, message, advice};
}

std::vector<DataSource> sources(const json& list) {
  std::vector<DataSource> result;
  for (const json& item : list) {
    const auto format = text::row_format(item.value("format", "messages"));
    if (!format) throw wrong("data: unknown format " + item.at("format").dump(), "see slipway-train --schema");
    result.push_back({item.at("path").get<std::string>(), *format, item.value("weight", 1.0)});
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
  if (spec.contains("data")) spec["data"].erase("cache");
  if (spec.contains("parallel")) {
    // Who computes decides nothing, how much does.
    spec["parallel"] = {{"ranks", spec["parallel"].value("ranks", 1)}};
  }
  if (spec.contains("training")) {
    json& training = spec["training"];
    const bool evaluation_decides =
        training.value("early_stopping_patience", 0) > 0 || training.value("load_best_model_at_end", false);
    for (const char* key :
         {"device", "logging_steps", "save_steps", "save_total_limit", "sample_prompts", "sample_max_new_tokens"}) {
      training.erase(key);
    }
    if (evaluation_decides) return base::sha256_hex(spec.dump());
    training.erase("eval_steps");
  }
  if (spec.contains("data")) spec["data"].erase("validation");
  return base::sha256_hex(spec.dump());
}

}  // namespace

LoraShape MethodSettings::shape_of(const std::string& module) const {
  const auto own = own_shapes.find(module);
  return own == own_shapes.end() ? LoraShape{r, lora_alpha} : own->second;
}

double MethodSettings::scaling(const std::string& module) const {
  const LoraShape shape = shape_of(module);
  return model::lora_scaling(shape.alpha, shape.rank, use_rslora);
}

bool MethodSettings::adapts(const model::AdapterModule& module) const {
  if (type != MethodType::kLora) return false;
  const std::vector<int64_t>& layers = layers_to_transform;
  if (!layers.empty() && std::find(layers.begin(), layers.end(), module.layer) == layers.end()) return false;
  return std::any_of(target_modules.begin(), target_modules.end(),
                     [&](const std::string& target) { return model::is_target(target, module.name); });
}

namespace {

PromptSettings prompt_from_spec(const json& method) {
  PromptSettings s;
  s.num_virtual_tokens = method.value("num_virtual_tokens", 20);
  const std::string init = method.value("prompt_tuning_init", "RANDOM");
  s.init = init == "TEXT"           ? PromptInit::kText
           : init == "SAMPLE_VOCAB" ? PromptInit::kSampleVocabulary
                                    : PromptInit::kRandom;
  take(method, "prompt_tuning_init_text", s.init_text);
  if (method.at("type") == "multitask_prompt_tuning") {
    s.num_tasks = method.value("num_tasks", 1);
    s.num_ranks = method.value("num_ranks", 1);
  }
  if ((s.init == PromptInit::kText) == s.init_text.empty()) {
    throw wrong("method.prompt_tuning_init_text belongs to prompt_tuning_init TEXT, and that needs it",
                "give both, or neither");
  }
  return s;
}

MethodSettings method_from_spec(const json& method) {
  MethodSettings s;
  const std::string type = method.value("type", "lora");
  s.type = type == "full" ? MethodType::kFull : type == "lora" ? MethodType::kLora : MethodType::kPrompt;
  if (s.type == MethodType::kPrompt) s.prompt = prompt_from_spec(method);
  take(method, "r", s.r);
  take(method, "lora_alpha", s.lora_alpha);
  take(method, "lora_dropout", s.lora_dropout);
  take(method, "use_rslora", s.use_rslora);
  take(method, "use_dora", s.use_dora);
  take(method, "loraplus_lr_ratio", s.loraplus_lr_ratio);
  take(method, "target_modules", s.target_modules);
  take(method, "layers_to_transform", s.layers_to_transform);
  take(method, "init_adapter", s.init_adapter);
  const std::string quantization = method.value("quantization", "none");
  s.quantization = quantization == "nf4"    ? Quantization::kNf4
                   : quantization == "int8" ? Quantization::kInt8
                                            : Quantization::kNone;
  take(method, "double_quantization", s.double_quantization);
  take(method, "freeze_layers", s.freeze_layers);
  take(method, "freeze_embeddings", s.freeze_embeddings);
  if (s.target_modules.empty()) {
    s.target_modules = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};
  }
  if (s.use_dora && s.lora_dropout > 0) {
    throw wrong("method.lora_dropout: DoRA is trained without dropout", "set lora_dropout to 0, or use_dora to false");
  }
  return s;
}

ObjectiveSettings objective_from_spec(const json& objective) {
  ObjectiveSettings s;
  const std::string type = objective.value("type", "sft");
  s.type = type == "dpo"      ? ObjectiveType::kDpo
           : type == "orpo"   ? ObjectiveType::kOrpo
           : type == "kto"    ? ObjectiveType::kKto
           : type == "reward" ? ObjectiveType::kReward
                              : ObjectiveType::kSupervised;
  take(objective, "beta", s.beta);
  take(objective, "label_smoothing", s.label_smoothing);
  s.ipo = objective.value("loss_type", "sigmoid") == "ipo";
  take(objective, "reference_free", s.reference_free);
  take(objective, "desirable_weight", s.desirable_weight);
  take(objective, "undesirable_weight", s.undesirable_weight);
  take(objective, "center_rewards_coefficient", s.center_rewards_coefficient);
  return s;
}

OptimizerType optimizer_type(const std::string& name) {
  if (name == "adamw") return OptimizerType::kAdamW;
  if (name == "adamw_8bit") return OptimizerType::kAdamW8Bit;
  if (name == "adafactor") return OptimizerType::kAdafactor;
  if (name == "lion") return OptimizerType::kLion;
  if (name == "muon") return OptimizerType::kMuon;
  throw wrong("training.optim: unknown optimizer '" + name + "'", "use adamw, adamw_8bit, adafactor, lion or muon");
}

void take_training(const json& training, TrainSettings& s) {
  take(training, "num_train_epochs", s.num_train_epochs);
  take(training, "max_steps", s.max_steps);
  take(training, "per_device_train_batch_size", s.batch_size);
  take(training, "gradient_accumulation_steps", s.gradient_accumulation_steps);
  take(training, "learning_rate", s.learning_rate);
  s.schedule.type = schedule_type(training.value("lr_scheduler_type", "cosine"));
  take(training, "warmup_steps", s.schedule.warmup_steps);
  take(training, "warmup_ratio", s.schedule.warmup_ratio);
  take(training, "decay_steps", s.schedule.decay_steps);
  take(training, "min_lr_ratio", s.schedule.min_lr_ratio);
  s.optimizer = optimizer_type(training.value("optim", "adamw"));
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
  const std::string device = training.value("device", "auto");
  s.device = device == "cpu" ? DeviceChoice::kCpu : device == "cuda" ? DeviceChoice::kCuda : DeviceChoice::kAuto;
  take(training, "gradient_checkpointing", s.gradient_checkpointing);
  take(training, "neftune_noise_alpha", s.neftune_noise_alpha);
  take(training, "logging_steps", s.logging_steps);
  take(training, "eval_steps", s.eval_steps);
  take(training, "save_steps", s.save_steps);
  take(training, "save_total_limit", s.save_total_limit);
  take(training, "load_best_model_at_end", s.load_best_model_at_end);
  take(training, "early_stopping_patience", s.early_stopping_patience);
  take(training, "early_stopping_threshold", s.early_stopping_threshold);
  take(training, "sample_prompts", s.sample_prompts);
  take(training, "sample_max_new_tokens", s.sample_max_new_tokens);
  take(training, "seed", s.seed);
}

void check_prompt_tuning(const TrainSettings& s) {
  if (!s.merged_output.empty() || !s.gguf_output.empty()) {
    throw wrong("output: prompt tuning changes no weights, so there is no merged model",
                "set output.merged and output.gguf to \"\"; output.adapter is the result");
  }
  if (s.objective.type != ObjectiveType::kSupervised) {
    throw wrong("objective.type: prompt tuning learns from examples, not from preferences",
                "set objective.type to sft, or method.type to lora");
  }
}

void check_reward(const TrainSettings& s) {
  if (!s.gguf_output.empty()) {
    throw wrong("output.gguf: a reward model has a score instead of logits",
                "set output.gguf to \"\"; output.adapter and output.merged hold the score head");
  }
  if (!s.sample_prompts.empty()) {
    throw wrong("training.sample_prompts: a reward model writes no text", "leave sample_prompts out");
  }
}

// What a schema cannot say.
void check(const TrainSettings& s) {
  if (s.objective.type == ObjectiveType::kReward) check_reward(s);
  if (s.method.type == MethodType::kPrompt) check_prompt_tuning(s);
  if (s.max_steps <= 0 && s.num_train_epochs <= 0) {
    throw wrong("training: neither num_train_epochs nor max_steps is above 0", "set one of them");
  }
  if (s.adapter_output.empty() && s.merged_output.empty() && s.gguf_output.empty()) {
    throw wrong("output: nothing would be written", "set output.adapter, output.merged or output.gguf");
  }
  const bool needs_evaluation = s.load_best_model_at_end || s.early_stopping_patience > 0;
  if (needs_evaluation && (s.eval_steps == 0 || s.validation.empty())) {
    throw wrong("training: load_best_model_at_end and early_stopping_patience need evaluations",
                "set eval_steps and data.validation");
  }
  const bool supervised = s.objective.type == ObjectiveType::kSupervised;
  for (const auto* list : {&s.train, &s.validation}) {
    for (const DataSource& source : *list) {
      if ((source.format == text::RowFormat::kPreference) == supervised) {
        throw wrong("data: " + source.path +
                        (supervised ? " holds preferences, which objective sft does not learn from"
                                    : " holds no preferences, which the objective needs"),
                    supervised ? "set objective.type to dpo, orpo, kto or reward" : "use format preference");
      }
    }
  }
}

}  // namespace

TrainSettings settings_from_spec(const json& spec) {
  TrainSettings s;
  s.model_path = spec.at("model").at("path").get<std::string>();
  s.train = sources(spec.at("data").at("train"));
  if (spec.at("data").contains("validation")) s.validation = sources(spec.at("data").at("validation"));
  s.cache = spec.at("data").value("cache", "cache");
  s.method = method_from_spec(spec.value("method", json::object()));
  s.objective = objective_from_spec(spec.value("objective", json::object()));
  take_training(spec.value("training", json::object()), s);
  const json parallel = spec.value("parallel", json::object());
  take(parallel, "ranks", s.ranks);
  if (const int64_t fewest = parallel.value("min_ranks", int64_t{1}); fewest > s.ranks) {
    throw wrong("parallel.min_ranks: " + std::to_string(fewest) + " is more than the " + std::to_string(s.ranks) +
                    (s.ranks == 1 ? " rank" : " ranks") + " that there are",
                "lower parallel.min_ranks or raise parallel.ranks");
  }
  s.strategy = parallel.value("strategy", "ddp") == "fsdp" ? Strategy::kFullySharded : Strategy::kReplicated;
  const json output = spec.value("output", json::object());
  take(output, "adapter", s.adapter_output);
  take(output, "merged", s.merged_output);
  take(output, "gguf", s.gguf_output);
  if (s.method.type == MethodType::kFull) {
    s.adapter_output.clear();  // there is no adapter
    if (s.merged_output.empty() && s.gguf_output.empty()) s.merged_output = "out/merged";
  }
  check(s);
  s.fingerprint = fingerprint_of(spec);
  return s;
}

}  // namespace slipway::train
