#include "agents/engine/model/adapter.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string_view>

#include "agents/engine/model/dequantize.h"
#include "agents/engine/model/mapped_file.h"
#include "agents/engine/model/safetensors.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::model {
namespace {

constexpr const char* kPrefix = "base_model.model.";
constexpr const char* kSuffixA = ".lora_A.weight";
constexpr const char* kSuffixB = ".lora_B.weight";
constexpr const char* kSuffixMagnitude = ".lora_magnitude_vector";
constexpr const char* kScore = "base_model.model.score.weight";
constexpr int64_t kMaxRank = 1 << 14;

[[noreturn]] void fail(const std::filesystem::path& file, const std::string& what) {
  throw base::Error(base::kInvalidModel, file.string() + ": " + what,
                    "save the adapter again with peft or slipway-train");
}

[[noreturn]] void unsupported(const std::filesystem::path& file, const std::string& what) {
  throw base::Error(
      base::kUnsupported, file.string() + ": " + what,
      "known are adapters of linear layers (peft_type LORA: LoRA, rsLoRA, DoRA), and prompt tuning's where "
      "a model is served or evaluated (PROMPT_TUNING, MULTITASK_PROMPT_TUNING)");
}

// True for values that switch nothing on: missing, null, false, "none", empty.
bool is_off(const nlohmann::json& config, const char* key) {
  const auto found = config.find(key);
  return found == config.end() || found->is_null() || *found == false || *found == "none" ||
         (found->is_structured() && found->empty());
}

// PEFT names the heads of sequence classifiers by both names, whichever the model has.
bool is_score_head(const nlohmann::json& modules) {
  return modules.is_array() && std::all_of(modules.begin(), modules.end(), [](const nlohmann::json& module) {
           return module == "score" || module == "classifier";
         });
}

AdapterConfig read_config(const std::filesystem::path& file, DoraAdapters dora, ScoreHeads scores) {
  const auto parsed = nlohmann::json::parse(base::read_file(file, 16U << 20U), nullptr, false);
  if (!parsed.is_object()) fail(file, "the file is no JSON object");
  const auto type = parsed.find("peft_type");
  if (type == parsed.end() || *type != "LORA") {
    unsupported(file, "peft_type is " + (type == parsed.end() ? "missing" : type->dump().substr(0, 80)));
  }
  for (const char* key : {"bias", "modules_to_save", "alpha_pattern", "layer_replication", "trainable_token_indices",
                          "target_parameters", "lora_bias", "alora_invocation_tokens"}) {
    if (scores == ScoreHeads::kTaken && std::string_view(key) == "modules_to_save" &&
        is_score_head(parsed.value(key, nlohmann::json())))
      continue;
    if (!is_off(parsed, key)) unsupported(file, std::string(key) + " is set");
  }
  AdapterConfig config;
  config.use_dora = !is_off(parsed, "use_dora");
  if (config.use_dora && dora == DoraAdapters::kRefused) unsupported(file, "use_dora is set");
  const auto number = [&](const char* key, double otherwise) {
    const auto found = parsed.find(key);
    if (found == parsed.end() || found->is_null()) return otherwise;
    if (!found->is_number() || !std::isfinite(found->get<double>())) fail(file, std::string(key) + " is not a number");
    return found->get<double>();
  };
  const auto r = parsed.find("r");
  if (r == parsed.end() || !r->is_number_integer() || r->get<int64_t>() < 1 || r->get<int64_t>() > kMaxRank) {
    fail(file, "r is not a whole number from 1 to " + std::to_string(kMaxRank));
  }
  config.r = r->get<int64_t>();
  config.lora_alpha = number("lora_alpha", 8);
  config.lora_dropout = number("lora_dropout", 0);
  const auto rslora = parsed.find("use_rslora");
  config.use_rslora = rslora != parsed.end() && *rslora == true;
  const auto modules = parsed.find("target_modules");
  if (modules != parsed.end() && modules->is_array()) {
    for (const auto& module : *modules) {
      if (!module.is_string()) fail(file, "target_modules holds something that is no string");
      config.target_modules.push_back(module.get<std::string>());
    }
    std::sort(config.target_modules.begin(), config.target_modules.end());
  }
  const auto base_model = parsed.find("base_model_name_or_path");
  if (base_model != parsed.end() && base_model->is_string()) {
    config.base_model_name_or_path = base_model->get<std::string>();
  }
  return config;
}

}  // namespace

double AdapterConfig::scaling() const {
  return use_rslora ? lora_alpha / std::sqrt(static_cast<double>(r)) : lora_alpha / static_cast<double>(r);
}

Adapter load_adapter(const std::filesystem::path& folder, DoraAdapters dora, ScoreHeads scores) {
  if (!std::filesystem::is_directory(folder)) {
    throw base::Error(base::kNotFound, "there is no adapter folder " + folder.string(), "check the path");
  }
  const auto config_file = folder / "adapter_config.json";
  const auto tensor_file = folder / "adapter_model.safetensors";
  if (!std::filesystem::exists(config_file)) fail(folder, "there is no adapter_config.json");
  if (!std::filesystem::exists(tensor_file)) fail(folder, "there is no adapter_model.safetensors");
  Adapter adapter;
  adapter.config = read_config(config_file, dora, scores);

  const MappedFile file(tensor_file);
  std::map<std::string, std::pair<const TensorView*, const TensorView*>> modules;
  const auto views = parse_safetensors(file.bytes(), tensor_file.string());
  std::map<std::string, const TensorView*> magnitudes;
  for (const TensorView& view : views) {
    if (adapter.config.use_dora && view.name.starts_with(kPrefix) && view.name.ends_with(kSuffixMagnitude)) {
      const std::string name = view.name.substr(std::string(kPrefix).size());
      magnitudes[name.substr(0, name.size() - std::string(kSuffixMagnitude).size())] = &view;
      continue;
    }
    if (scores == ScoreHeads::kTaken && view.name == kScore) {
      adapter.score.resize(static_cast<size_t>(view.elements()));
      dequantize(view.dtype, view.data, adapter.score);
      continue;
    }
    const bool is_a = view.name.ends_with(kSuffixA);
    if (!view.name.starts_with(kPrefix) || (!is_a && !view.name.ends_with(kSuffixB))) {
      unsupported(tensor_file, "tensor " + view.name.substr(0, 120) + " is no lora_A or lora_B of a linear layer");
    }
    if (view.shape.size() != 2) fail(tensor_file, "tensor " + view.name + " is no matrix");
    const size_t begin = std::string(kPrefix).size();
    auto& pair = modules[view.name.substr(begin, view.name.size() - std::string(kSuffixA).size() - begin)];
    (is_a ? pair.first : pair.second) = &view;
  }
  if (modules.empty()) fail(tensor_file, "it holds no lora_A and lora_B tensors");
  std::set<std::string> last_names;
  for (const auto& [name, pair] : modules) {
    const auto& [a, b] = pair;
    if (a == nullptr || b == nullptr) fail(tensor_file, "module " + name + " has only one of lora_A and lora_B");
    AdapterTensor tensor;
    tensor.module = name;
    tensor.rank = a->shape[0];
    tensor.in_features = a->shape[1];
    tensor.out_features = b->shape[0];
    if (b->shape[1] != tensor.rank) fail(tensor_file, "module " + name + ": lora_A and lora_B have different ranks");
    if (tensor.rank != adapter.config.r) {
      unsupported(tensor_file, "module " + name + " has rank " + std::to_string(tensor.rank) + ", r is " +
                                   std::to_string(adapter.config.r));
    }
    tensor.a.resize(static_cast<size_t>(a->elements()));
    tensor.b.resize(static_cast<size_t>(b->elements()));
    dequantize(a->dtype, a->data, tensor.a);
    dequantize(b->dtype, b->data, tensor.b);
    if (adapter.config.use_dora) {
      const auto magnitude = magnitudes.find(name);
      if (magnitude == magnitudes.end() || magnitude->second->elements() != tensor.out_features) {
        fail(tensor_file, "module " + name + " has no lora_magnitude_vector of " + std::to_string(tensor.out_features));
      }
      tensor.magnitude.resize(static_cast<size_t>(tensor.out_features));
      dequantize(magnitude->second->dtype, magnitude->second->data, tensor.magnitude);
    }
    adapter.tensors.push_back(std::move(tensor));
    last_names.insert(name.substr(name.rfind('.') + 1));
  }
  // A pattern or "all-linear" instead of a list: what is really there says it.
  if (adapter.config.target_modules.empty()) {
    adapter.config.target_modules.assign(last_names.begin(), last_names.end());
  }
  return adapter;
}

void save_adapter(const std::filesystem::path& folder, const Adapter& adapter) {
  std::filesystem::create_directories(folder);
  std::vector<TensorView> views;
  for (const AdapterTensor& tensor : adapter.tensors) {
    const auto view = [&](const char* suffix, int64_t rows, int64_t columns, const std::vector<float>& values) {
      views.push_back(
          {kPrefix + tensor.module + suffix, DType::kF32, {rows, columns}, std::as_bytes(std::span(values))});
    };
    view(kSuffixA, tensor.rank, tensor.in_features, tensor.a);
    view(kSuffixB, tensor.out_features, tensor.rank, tensor.b);
    if (!tensor.magnitude.empty()) {
      views.push_back({kPrefix + tensor.module + kSuffixMagnitude,
                       DType::kF32,
                       {tensor.out_features},
                       std::as_bytes(std::span(tensor.magnitude))});
    }
  }
  const bool scores = !adapter.score.empty();
  if (scores) {
    views.push_back({kScore,
                     DType::kF32,
                     {1, static_cast<int64_t>(adapter.score.size())},
                     std::as_bytes(std::span(adapter.score))});
  }
  std::sort(views.begin(), views.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  write_safetensors(folder / "adapter_model.safetensors", views);

  nlohmann::ordered_json config;
  config["alpha_pattern"] = nlohmann::ordered_json::object();
  config["auto_mapping"] = nullptr;
  config["base_model_name_or_path"] = adapter.config.base_model_name_or_path;
  config["bias"] = "none";
  config["fan_in_fan_out"] = false;
  config["inference_mode"] = true;
  config["init_lora_weights"] = true;
  config["layers_pattern"] = nullptr;
  config["layers_to_transform"] = nullptr;
  config["lora_alpha"] = adapter.config.lora_alpha;
  if (adapter.config.lora_alpha == std::floor(adapter.config.lora_alpha)) {
    config["lora_alpha"] = static_cast<int64_t>(adapter.config.lora_alpha);
  }
  config["lora_dropout"] = adapter.config.lora_dropout;
  config["modules_to_save"] = scores ? nlohmann::ordered_json{"score"} : nlohmann::ordered_json();
  config["peft_type"] = "LORA";
  config["r"] = adapter.config.r;
  config["rank_pattern"] = nlohmann::ordered_json::object();
  config["revision"] = nullptr;
  config["target_modules"] = adapter.config.target_modules;
  config["task_type"] = scores ? "SEQ_CLS" : "CAUSAL_LM";
  config["use_dora"] = adapter.config.use_dora;
  config["use_rslora"] = adapter.config.use_rslora;
  base::write_file_atomically(folder / "adapter_config.json", config.dump(2) + "\n");
}

}  // namespace slipway::model
