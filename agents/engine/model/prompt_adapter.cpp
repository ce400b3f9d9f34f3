#include "agents/engine/model/prompt_adapter.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>

#include "agents/engine/model/shape_text.h"
#include "agents/engine/model/weights.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::model {
namespace {

constexpr char kConfigFile[] = "adapter_config.json", kTensorFile[] = "adapter_model.safetensors";
constexpr char kPlain[] = "PROMPT_TUNING", kMultitask[] = "MULTITASK_PROMPT_TUNING";
constexpr int64_t kMost = 1 << 20;  // of tokens, tasks and ranks

[[noreturn]] void fail(const std::filesystem::path& file, const std::string& what) {
  throw base::Error(base::kInvalidModel, file.string() + ": " + what,
                    "save the adapter again with peft or slipway-train");
}

int64_t count(const nlohmann::json& config, const std::filesystem::path& file, const char* key) {
  const auto found = config.find(key);
  const bool fits = found != config.end() && found->is_number_integer() && *found >= 1 && *found <= kMost;
  if (!fits) fail(file, std::string(key) + " is not a whole number above 0");
  return found->get<int64_t>();
}

std::vector<float> read(const Weights& weights, const std::filesystem::path& file, const char* name,
                        const std::vector<int64_t>& shape) {
  if (!weights.contains(name)) fail(file, std::string("there is no tensor ") + name);
  const TensorView view = weights.get(name);
  if (view.shape != shape) {
    fail(file, std::string("tensor ") + name + " is " + shape_text(view.shape) + ", adapter_config.json says " +
                   shape_text(shape));
  }
  std::vector<float> values(static_cast<size_t>(view.elements()));
  weights.read_f32(name, values);
  return values;
}

nlohmann::json read_config(const std::filesystem::path& file) {
  return nlohmann::json::parse(base::read_file(file, 16U << 20U), nullptr, false);
}

// Empty where it says none.
std::string peft_type(const nlohmann::json& config) {
  if (!config.is_object()) return "";
  const auto found = config.find("peft_type");
  return found != config.end() && found->is_string() ? found->get<std::string>() : "";
}

// A classifier's head, or embeddings that were trained along, would be left out without a word.
void check_names(const Weights& weights, const std::filesystem::path& file, bool multitask) {
  for (const std::string& name : weights.names()) {
    if (name == kPromptEmbeddings || (multitask && (name == kPromptTaskColumns || name == kPromptTaskRows))) continue;
    throw base::Error(
        base::kUnsupported,
        file.string() + ": tensor " + name.substr(0, 120) + " is no part of " + (multitask ? kMultitask : kPlain),
        "known are adapters of causal language models that hold virtual tokens alone");
  }
}

}  // namespace

bool is_prompt_adapter(const std::filesystem::path& folder) {
  const auto file = folder / kConfigFile;
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(file, ignored)) return false;
  const std::string type = peft_type(read_config(file));
  return type == kPlain || type == kMultitask;
}

PromptAdapter load_prompt_adapter(const std::filesystem::path& folder) {
  if (!std::filesystem::is_directory(folder)) {
    throw base::Error(base::kNotFound, "there is no adapter folder " + folder.string(), "check the path");
  }
  const auto config_file = folder / kConfigFile, tensor_file = folder / kTensorFile;
  if (!std::filesystem::exists(config_file)) fail(folder, "there is no adapter_config.json");
  if (!std::filesystem::exists(tensor_file)) fail(folder, "there is no adapter_model.safetensors");
  const auto config = read_config(config_file);
  if (!config.is_object()) fail(config_file, "the file is no JSON object");
  const std::string type = peft_type(config);
  if (type != kPlain && type != kMultitask) {
    throw base::Error(base::kUnsupported,
                      config_file.string() + ": peft_type is " + (type.empty() ? "missing" : type.substr(0, 80)),
                      "give an adapter of prompt tuning (PROMPT_TUNING or MULTITASK_PROMPT_TUNING)");
  }
  PromptAdapter adapter;
  adapter.virtual_tokens = count(config, config_file, "num_virtual_tokens");
  adapter.width = count(config, config_file, "token_dim");
  if (config.contains("num_transformer_submodules") && !config.at("num_transformer_submodules").is_null() &&
      count(config, config_file, "num_transformer_submodules") != 1) {
    fail(config_file, "num_transformer_submodules is not 1, so it is of no decoder");
  }
  if (const auto base = config.find("base_model_name_or_path"); base != config.end() && base->is_string()) {
    adapter.base_model_name_or_path = base->get<std::string>();
  }
  const auto weights = open_weights(tensor_file);
  check_names(*weights, tensor_file, type == kMultitask);
  adapter.embeddings = read(*weights, tensor_file, kPromptEmbeddings, {adapter.virtual_tokens, adapter.width});
  if (type == kPlain) return adapter;
  adapter.tasks = count(config, config_file, "num_tasks");
  adapter.ranks = count(config, config_file, "num_ranks");
  adapter.task_columns =
      read(*weights, tensor_file, kPromptTaskColumns, {adapter.tasks, adapter.virtual_tokens, adapter.ranks});
  adapter.task_rows = read(*weights, tensor_file, kPromptTaskRows, {adapter.tasks, adapter.ranks, adapter.width});
  return adapter;
}

std::vector<float> prompt_rows(const PromptAdapter& adapter, int64_t task) {
  std::vector<float> rows = adapter.embeddings;
  if (adapter.tasks == 0) return rows;
  const int64_t tokens = adapter.virtual_tokens, ranks = adapter.ranks, width = adapter.width;
  const float* columns = adapter.task_columns.data() + task * tokens * ranks;
  const float* task_rows = adapter.task_rows.data() + task * ranks * width;
  std::vector<float> factors(static_cast<size_t>(width));
  for (int64_t token = 0; token < tokens; ++token) {
    std::fill(factors.begin(), factors.end(), 0.0F);
    for (int64_t rank = 0; rank < ranks; ++rank) {
      const float column = columns[token * ranks + rank];
      for (int64_t i = 0; i < width; ++i) factors[static_cast<size_t>(i)] += column * task_rows[rank * width + i];
    }
    for (int64_t i = 0; i < width; ++i) rows[static_cast<size_t>(token * width + i)] *= factors[static_cast<size_t>(i)];
  }
  return rows;
}

void save_prompt_adapter(const std::filesystem::path& folder, const PromptAdapter& adapter) {
  std::filesystem::create_directories(folder);
  std::vector<TensorView> views;
  const auto add = [&](const char* name, std::vector<int64_t> shape, const std::vector<float>& values) {
    views.push_back({name, DType::kF32, std::move(shape), std::as_bytes(std::span(values))});
  };
  const bool multitask = adapter.tasks > 0;
  if (multitask) {
    add(kPromptTaskColumns, {adapter.tasks, adapter.virtual_tokens, adapter.ranks}, adapter.task_columns);
    add(kPromptTaskRows, {adapter.tasks, adapter.ranks, adapter.width}, adapter.task_rows);
  }
  add(kPromptEmbeddings, {adapter.virtual_tokens, adapter.width}, adapter.embeddings);
  write_safetensors(folder / kTensorFile, views);

  nlohmann::ordered_json config;
  config["auto_mapping"] = nullptr;
  config["base_model_name_or_path"] = adapter.base_model_name_or_path;
  config["inference_mode"] = true;
  config["num_attention_heads"] = adapter.attention_heads;
  config["num_layers"] = adapter.layers;
  if (multitask) config["num_ranks"] = adapter.ranks;
  if (multitask) config["num_tasks"] = adapter.tasks;
  config["num_transformer_submodules"] = 1;
  config["num_virtual_tokens"] = adapter.virtual_tokens;
  config["peft_type"] = multitask ? kMultitask : kPlain;
  // However it began: the tensors hold it, and peft would look for the tokenizer of a text.
  config["prompt_tuning_init"] = "RANDOM";
  config["prompt_tuning_init_text"] = nullptr;
  config["revision"] = nullptr;
  config["task_type"] = "CAUSAL_LM";
  config["token_dim"] = adapter.width;
  config["tokenizer_name_or_path"] = nullptr;
  base::write_file_atomically(folder / kConfigFile, config.dump(2) + "\n");
}

}  // namespace slipway::model
