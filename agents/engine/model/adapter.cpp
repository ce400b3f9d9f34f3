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
      "a model is served or evaluated (PROMPT_TUNING, MULTITASK_PROMPT_TUNING); another one can be merged into its "
      "base with peft's merge_and_unload, and the whole model used");
}

// 16 rather than 16.0, as people write it.
nlohmann::ordered_json number_of(double value) {
  if (value == std::floor(value) && std::abs(value) < 1e15) return static_cast<int64_t>(value);
  return value;
}

// True for values that switch nothing on: missing, null, false, "none", empty.
template <typename Json>
bool is_off(const Json& config, const char* key) {
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

// Ways to begin an adapter that change the base's weights, which are then no longer those that everybody else has.
void check_beginning(const std::filesystem::path& file, const nlohmann::json& config) {
  const auto way = config.find("init_lora_weights");
  if (way == config.end() || !way->is_string()) return;
  const std::string name = way->get<std::string>();
  for (const char* beginning : {"pissa", "olora", "corda", "loftq"}) {
    if (!name.starts_with(beginning)) continue;
    throw base::Error(
        base::kUnsupported,
        file.string() + ": init_lora_weights is " + name.substr(0, 80) + ", which changes the base's weights",
        "save it with peft's path_initial_model_for_weight_conversion, which makes a plain adapter of it");
  }
}

// alpha_pattern in its order: the first key that is a module's name, or what follows a dot in it, counts. PEFT takes
// keys for regular expressions; those that are more than names are refused.
struct AlphaPattern {
  std::vector<std::pair<std::string, double>> entries;

  std::optional<double> of(const std::string& module) const {
    for (const auto& [key, alpha] : entries) {
      if (module == key || module.ends_with("." + key)) return alpha;
    }
    return std::nullopt;
  }
};

AlphaPattern read_alphas(const std::filesystem::path& file, const nlohmann::ordered_json& config) {
  AlphaPattern pattern;
  const auto found = config.find("alpha_pattern");
  if (found == config.end() || found->is_null()) return pattern;
  if (!found->is_object()) fail(file, "alpha_pattern is no object");
  for (const auto& [key, alpha] : found->items()) {
    const auto is_plain = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
    };
    if (key.empty() || !std::all_of(key.begin(), key.end(), is_plain)) {
      unsupported(file, "alpha_pattern has the regular expression " + key.substr(0, 120));
    }
    if (!alpha.is_number() || !std::isfinite(alpha.get<double>())) {
      fail(file, "alpha_pattern." + key.substr(0, 120) + " is not a number");
    }
    pattern.entries.emplace_back(key, alpha.get<double>());
  }
  return pattern;
}

nlohmann::ordered_json parse_config(const std::filesystem::path& file) {
  auto parsed = nlohmann::ordered_json::parse(base::read_file(file, 16U << 20U), nullptr, false);
  if (!parsed.is_object()) fail(file, "the file is no JSON object");
  return parsed;
}

AdapterConfig read_config(const std::filesystem::path& file, const nlohmann::json& parsed, DoraAdapters dora,
                          ScoreHeads scores) {
  const auto type = parsed.find("peft_type");
  if (type == parsed.end() || *type != "LORA") {
    unsupported(file, "peft_type is " + (type == parsed.end() ? "missing" : type->dump().substr(0, 80)));
  }
  for (const char* key : {"bias", "modules_to_save", "layer_replication", "trainable_token_indices",
                          "target_parameters", "lora_bias", "alora_invocation_tokens"}) {
    if (scores == ScoreHeads::kTaken && std::string_view(key) == "modules_to_save" &&
        is_score_head(parsed.value(key, nlohmann::json())))
      continue;
    if (!is_off(parsed, key)) unsupported(file, std::string(key) + " is set");
  }
  check_beginning(file, parsed);
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

double lora_scaling(double alpha, int64_t rank, bool use_rslora) {
  const auto size = static_cast<double>(rank);
  return alpha / (use_rslora ? std::sqrt(size) : size);
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
  const nlohmann::ordered_json config = parse_config(config_file);
  adapter.config = read_config(config_file, config, dora, scores);
  const AlphaPattern alphas = read_alphas(config_file, config);
  const bool ranks_differ = !is_off(config, "rank_pattern");

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
    tensor.alpha = alphas.of(name);
    if (tensor.rank != adapter.config.r && !ranks_differ) {
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

  nlohmann::ordered_json config, ranks = nlohmann::ordered_json::object(), alphas = nlohmann::ordered_json::object();
  for (const AdapterTensor& tensor : adapter.tensors) {
    if (tensor.rank != adapter.config.r) ranks[tensor.module] = tensor.rank;
    if (tensor.alpha.value_or(adapter.config.lora_alpha) != adapter.config.lora_alpha) {
      alphas[tensor.module] = number_of(*tensor.alpha);
    }
  }
  config["alpha_pattern"] = alphas;
  config["auto_mapping"] = nullptr;
  config["base_model_name_or_path"] = adapter.config.base_model_name_or_path;
  config["bias"] = "none";
  config["fan_in_fan_out"] = adapter.config.fan_in_fan_out;
  config["inference_mode"] = true;
  config["init_lora_weights"] = true;
  config["layers_pattern"] = nullptr;
  const std::vector<int64_t>& layers = adapter.config.layers_to_transform;
  config["layers_to_transform"] = layers.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(layers);
  config["lora_alpha"] = number_of(adapter.config.lora_alpha);
  config["lora_dropout"] = adapter.config.lora_dropout;
  config["modules_to_save"] = scores ? nlohmann::ordered_json{"score"} : nlohmann::ordered_json();
  config["peft_type"] = "LORA";
  config["r"] = adapter.config.r;
  config["rank_pattern"] = ranks;
  config["revision"] = nullptr;
  config["target_modules"] = adapter.config.target_modules;
  config["task_type"] = scores ? "SEQ_CLS" : "CAUSAL_LM";
  config["use_dora"] = adapter.config.use_dora;
  config["use_rslora"] = adapter.config.use_rslora;
  base::write_file_atomically(folder / "adapter_config.json", config.dump(2) + "\n");
}

}  // namespace slipway::model
