#include "agents/engine/model/architecture.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "agents/engine/model/architecture_gguf.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::model {
namespace {

constexpr const char* kKnownFamilies = "llama, mistral (without a sliding window)";
constexpr size_t kMaxConfigBytes = 16U << 20U;

[[noreturn]] void fail(const std::string& origin, const std::string& what) {
  throw base::Error(base::kInvalidModel, origin + ": " + what, "check the model's files, or export it again");
}

[[noreturn]] void unsupported(const std::string& origin, const std::string& what, const std::string& known) {
  throw base::Error(base::kUnsupported, origin + ": " + what, "known: " + known);
}

// Typed access to one JSON object of a config; null counts as missing, as in transformers.
class Reader {
 public:
  Reader(const nlohmann::json& object, const std::string& origin, std::string prefix = "")
      : object_(object), origin_(origin), prefix_(std::move(prefix)) {}

  const nlohmann::json* find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  int64_t integer(const char* key) const {
    const auto* value = find(key);
    if (value == nullptr) fail(origin_, "the key " + prefix_ + key + " is missing");
    return checked_integer(key, *value);
  }
  int64_t integer(const char* key, int64_t otherwise) const {
    const auto* value = find(key);
    return value == nullptr ? otherwise : checked_integer(key, *value);
  }
  double number(const char* key, double otherwise) const {
    const auto* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_number() || !std::isfinite(value->get<double>())) {
      fail(origin_, "the key " + prefix_ + key + " is not a number");
    }
    return value->get<double>();
  }
  double number(const char* key) const {
    if (find(key) == nullptr) fail(origin_, "the key " + prefix_ + key + " is missing");
    return number(key, 0);
  }
  bool boolean(const char* key, bool otherwise) const {
    const auto* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_boolean()) fail(origin_, "the key " + prefix_ + key + " is neither true nor false");
    return value->get<bool>();
  }
  std::string text(const char* key, const std::string& otherwise) const {
    const auto* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_string()) fail(origin_, "the key " + prefix_ + key + " is not a string");
    return value->get<std::string>();
  }

 private:
  int64_t checked_integer(const char* key, const nlohmann::json& value) const {
    if (!value.is_number_integer() ||
        (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX))) {
      fail(origin_, "the key " + prefix_ + key + " is not a whole number");
    }
    return value.get<int64_t>();
  }

  const nlohmann::json& object_;
  const std::string& origin_;
  std::string prefix_;
};

Activation activation_of(const std::string& name, const std::string& origin) {
  if (name == "silu" || name == "swish") return Activation::kSilu;
  if (name == "gelu") return Activation::kGelu;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new") return Activation::kGeluTanh;
  unsupported(origin, "hidden_act is '" + name + "'", "silu, gelu, gelu_pytorch_tanh");
}

const char* activation_name(Activation activation) {
  switch (activation) {
    case Activation::kSilu:
      return "silu";
    case Activation::kGelu:
      return "gelu";
    case Activation::kGeluTanh:
      return "gelu_pytorch_tanh";
  }
  return "";
}

// rope_theta and rope_scaling (transformers 4), or rope_parameters that hold both (transformers 5).
void read_rope(const Reader& reader, Architecture& architecture, const std::string& origin) {
  const char* key = reader.find("rope_parameters") != nullptr ? "rope_parameters" : "rope_scaling";
  architecture.rope_theta = reader.number("rope_theta", 10000.0);
  const auto* object = reader.find(key);
  if (object == nullptr) return;
  if (!object->is_object()) fail(origin, std::string("the key ") + key + " is no object");
  const Reader rope(*object, origin, std::string(key) + ".");
  architecture.rope_theta = rope.number("rope_theta", architecture.rope_theta);
  if (rope.number("partial_rotary_factor", 1.0) != 1.0) {
    unsupported(origin, "partial_rotary_factor is not 1", "rotation of the whole head");
  }
  const std::string type = rope.text("rope_type", rope.text("type", "default"));
  if (type == "default") return;
  if (type == "linear") {
    architecture.rope_scaling = RopeScaling::kLinear;
    architecture.rope_scaling_factor = rope.number("factor");
  } else if (type == "llama3") {
    architecture.rope_scaling = RopeScaling::kLlama3;
    architecture.rope_scaling_factor = rope.number("factor");
    architecture.rope_low_freq_factor = rope.number("low_freq_factor");
    architecture.rope_high_freq_factor = rope.number("high_freq_factor");
    architecture.rope_original_max_position =
        rope.integer("original_max_position_embeddings", architecture.max_position_embeddings);
  } else {
    unsupported(origin, std::string(key) + ".rope_type is '" + type + "'", "default, linear, llama3");
  }
}

int32_t token_id(const std::string& origin, const char* key, const nlohmann::json& value) {
  if (!value.is_number_integer() || value.get<int64_t>() < -1 || value.get<int64_t>() > INT32_MAX) {
    fail(origin, std::string("the key ") + key + " is not a token id");
  }
  return value.get<int32_t>();
}

void read_eos(const Reader& reader, std::vector<int32_t>& ids, const std::string& origin) {
  const auto* eos = reader.find("eos_token_id");
  if (eos == nullptr) return;
  std::vector<int32_t> found;
  if (eos->is_array()) {
    if (eos->size() > 1024) fail(origin, "the key eos_token_id lists more than 1024 ids");
    for (const auto& id : *eos) found.push_back(token_id(origin, "eos_token_id", id));
  } else {
    found.push_back(token_id(origin, "eos_token_id", *eos));
  }
  for (const int32_t id : found) {
    if (id >= 0 && std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  }
}

nlohmann::json read_json(const std::filesystem::path& path) {
  auto parsed = nlohmann::json::parse(base::read_file(path, kMaxConfigBytes), nullptr, false);
  if (!parsed.is_object()) fail(path.string(), "the file is no JSON object");
  return parsed;
}

}  // namespace

void check_architecture(const Architecture& architecture, const std::string& origin) {
  const auto in_range = [&](const char* key, int64_t value, int64_t low, int64_t high) {
    if (value < low || value > high) {
      fail(origin, std::string(key) + " is " + std::to_string(value) + ", expected " + std::to_string(low) + " to " +
                       std::to_string(high));
    }
  };
  in_range("vocab_size", architecture.vocab_size, 1, 1 << 24);
  in_range("hidden_size", architecture.hidden_size, 1, 1 << 18);
  in_range("intermediate_size", architecture.intermediate_size, 1, 1 << 20);
  in_range("num_hidden_layers", architecture.num_hidden_layers, 1, 1 << 12);
  in_range("num_attention_heads", architecture.num_attention_heads, 1, 1 << 12);
  in_range("num_key_value_heads", architecture.num_key_value_heads, 1, architecture.num_attention_heads);
  in_range("head_dim", architecture.head_dim, 2, 1 << 12);
  in_range("max_position_embeddings", architecture.max_position_embeddings, 1, 1 << 28);
  if (architecture.head_dim % 2 != 0) fail(origin, "head_dim is odd; the rotary embedding needs pairs");
  if (architecture.num_attention_heads % architecture.num_key_value_heads != 0) {
    fail(origin, "num_attention_heads is no multiple of num_key_value_heads");
  }
  const auto positive = [&](const char* key, double value) {
    if (!(value > 0) || !std::isfinite(value)) fail(origin, std::string(key) + " is not above 0");
  };
  positive("rms_norm_eps", architecture.rms_norm_eps);
  positive("rope_theta", architecture.rope_theta);
  if (architecture.rope_scaling != RopeScaling::kNone)
    positive("rope_scaling.factor", architecture.rope_scaling_factor);
  if (architecture.rope_scaling == RopeScaling::kLlama3) {
    positive("rope_scaling.low_freq_factor", architecture.rope_low_freq_factor);
    in_range("rope_scaling.original_max_position_embeddings", architecture.rope_original_max_position, 1, 1 << 28);
    if (!(architecture.rope_high_freq_factor > architecture.rope_low_freq_factor)) {
      fail(origin, "rope_scaling.high_freq_factor is not above low_freq_factor");
    }
  }
}

int64_t Architecture::parameter_count() const {
  const int64_t queries = num_attention_heads * head_dim;
  const int64_t keys = num_key_value_heads * head_dim;
  int64_t layer = hidden_size * (2 * queries + 2 * keys) + 3 * hidden_size * intermediate_size + 2 * hidden_size;
  if (attention_bias) layer += queries + 2 * keys + hidden_size;
  if (mlp_bias) layer += 2 * intermediate_size + hidden_size;
  return num_hidden_layers * layer + hidden_size + vocab_size * hidden_size * (tie_word_embeddings ? 1 : 2);
}

Architecture architecture_from_config(const nlohmann::json& config, const std::string& origin) {
  if (!config.is_object()) fail(origin, "the configuration is no JSON object");
  const Reader reader(config, origin);
  Architecture architecture;
  architecture.family = reader.text("model_type", "");
  if (architecture.family != "llama" && architecture.family != "mistral") {
    unsupported(origin, "model_type is '" + architecture.family.substr(0, 80) + "'", kKnownFamilies);
  }
  if (reader.find("quantization_config") != nullptr) {
    unsupported(origin, "the weights are quantised (quantization_config)",
                "weights in F32, F16 or BF16, and GGUF files");
  }
  const bool mistral = architecture.family == "mistral";
  architecture.vocab_size = reader.integer("vocab_size");
  architecture.hidden_size = reader.integer("hidden_size");
  architecture.intermediate_size = reader.integer("intermediate_size");
  architecture.num_hidden_layers = reader.integer("num_hidden_layers");
  architecture.num_attention_heads = reader.integer("num_attention_heads");
  architecture.num_key_value_heads =
      reader.integer("num_key_value_heads", mistral ? 8 : architecture.num_attention_heads);
  const int64_t heads = std::max<int64_t>(architecture.num_attention_heads, 1);
  architecture.head_dim = reader.integer("head_dim", architecture.hidden_size / heads);
  architecture.max_position_embeddings = reader.integer("max_position_embeddings", mistral ? 131072 : 2048);
  architecture.rms_norm_eps = reader.number("rms_norm_eps", 1e-6);
  architecture.activation = activation_of(reader.text("hidden_act", "silu"), origin);
  architecture.attention_bias = !mistral && reader.boolean("attention_bias", false);
  architecture.mlp_bias = !mistral && reader.boolean("mlp_bias", false);
  architecture.tie_word_embeddings = reader.boolean("tie_word_embeddings", false);
  read_rope(reader, architecture, origin);
  if (mistral && reader.find("sliding_window") != nullptr &&
      reader.integer("sliding_window") < architecture.max_position_embeddings) {
    unsupported(origin, "sliding_window is smaller than max_position_embeddings", kKnownFamilies);
  }
  read_eos(reader, architecture.eos_token_ids, origin);
  if (const auto* bos = reader.find("bos_token_id")) architecture.bos_token_id = token_id(origin, "bos_token_id", *bos);
  if (const auto* pad = reader.find("pad_token_id")) architecture.pad_token_id = token_id(origin, "pad_token_id", *pad);
  check_architecture(architecture, origin);
  return architecture;
}

nlohmann::ordered_json config_from_architecture(const Architecture& architecture, const std::string& torch_dtype) {
  nlohmann::ordered_json config;
  const bool mistral = architecture.family == "mistral";
  config["architectures"] = {mistral ? "MistralForCausalLM" : "LlamaForCausalLM"};
  config["model_type"] = architecture.family;
  config["vocab_size"] = architecture.vocab_size;
  config["hidden_size"] = architecture.hidden_size;
  config["intermediate_size"] = architecture.intermediate_size;
  config["num_hidden_layers"] = architecture.num_hidden_layers;
  config["num_attention_heads"] = architecture.num_attention_heads;
  config["num_key_value_heads"] = architecture.num_key_value_heads;
  config["head_dim"] = architecture.head_dim;
  config["max_position_embeddings"] = architecture.max_position_embeddings;
  config["rms_norm_eps"] = architecture.rms_norm_eps;
  config["hidden_act"] = activation_name(architecture.activation);
  config["tie_word_embeddings"] = architecture.tie_word_embeddings;
  if (mistral) {
    config["sliding_window"] = nullptr;
  } else {
    config["attention_bias"] = architecture.attention_bias;
    config["mlp_bias"] = architecture.mlp_bias;
  }
  config["rope_theta"] = architecture.rope_theta;
  switch (architecture.rope_scaling) {
    case RopeScaling::kNone:
      config["rope_scaling"] = nullptr;
      break;
    case RopeScaling::kLinear:
      config["rope_scaling"] = {{"rope_type", "linear"}, {"factor", architecture.rope_scaling_factor}};
      break;
    case RopeScaling::kLlama3:
      config["rope_scaling"] = {{"rope_type", "llama3"},
                                {"factor", architecture.rope_scaling_factor},
                                {"low_freq_factor", architecture.rope_low_freq_factor},
                                {"high_freq_factor", architecture.rope_high_freq_factor},
                                {"original_max_position_embeddings", architecture.rope_original_max_position}};
      break;
  }
  if (architecture.eos_token_ids.size() == 1) {
    config["eos_token_id"] = architecture.eos_token_ids[0];
  } else if (!architecture.eos_token_ids.empty()) {
    config["eos_token_id"] = architecture.eos_token_ids;
  } else {
    config["eos_token_id"] = nullptr;
  }
  const auto id_or_null = [](int32_t id) { return id >= 0 ? nlohmann::ordered_json(id) : nlohmann::ordered_json(); };
  config["bos_token_id"] = id_or_null(architecture.bos_token_id);
  config["pad_token_id"] = id_or_null(architecture.pad_token_id);
  config["torch_dtype"] = torch_dtype;
  config["use_cache"] = true;
  return config;
}

Architecture load_architecture(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) {
    throw base::Error(base::kNotFound, "there is no model at " + path.string(), "check the path");
  }
  if (!std::filesystem::is_directory(path)) {
    if (path.extension() == ".gguf") return architecture_from_gguf(path);
    throw base::Error(base::kUnsupported, path.string() + " is no model that is known here",
                      "give a Hugging Face folder or a .gguf file");
  }
  const auto config = path / "config.json";
  if (!std::filesystem::exists(config)) {
    fail(path.string(), "there is no config.json");
  }
  Architecture architecture = architecture_from_config(read_json(config), config.string());
  // Chat models often list more end tokens here than in config.json.
  const auto generation = path / "generation_config.json";
  if (std::filesystem::exists(generation)) {
    const auto parsed = read_json(generation);
    read_eos(Reader(parsed, generation.string()), architecture.eos_token_ids, generation.string());
  }
  return architecture;
}

// Formulas: transformers' modeling_rope_utils (default, linear, llama3), computed in f32 as there.
std::vector<float> rope_inverse_frequencies(const Architecture& architecture) {
  const int64_t count = architecture.head_dim / 2;
  std::vector<float> frequencies(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(architecture.head_dim);
    frequencies[static_cast<size_t>(i)] = 1.0F / std::pow(static_cast<float>(architecture.rope_theta), exponent);
  }
  if (architecture.rope_scaling == RopeScaling::kLinear) {
    for (float& frequency : frequencies) frequency /= static_cast<float>(architecture.rope_scaling_factor);
  } else if (architecture.rope_scaling == RopeScaling::kLlama3) {
    const auto factor = static_cast<float>(architecture.rope_scaling_factor);
    const auto low = static_cast<float>(architecture.rope_low_freq_factor);
    const auto high = static_cast<float>(architecture.rope_high_freq_factor);
    const auto original = static_cast<float>(architecture.rope_original_max_position);
    for (float& frequency : frequencies) {
      const float wavelength = 2.0F * std::numbers::pi_v<float> / frequency;
      if (wavelength > original / low) {
        frequency /= factor;
      } else if (wavelength >= original / high) {
        const float smooth = (original / wavelength - low) / (high - low);
        frequency = (1.0F - smooth) * frequency / factor + smooth * frequency;
      }
    }
  }
  return frequencies;
}

}  // namespace slipway::model
