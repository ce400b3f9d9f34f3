#include "agents/engine/model/architecture.h"

#include <algorithm>
#include <cmath>

#include "agents/engine/model/architecture_gguf.h"
#include "agents/engine/model/config_reader.h"
#include "agents/engine/model/container.h"
#include "agents/engine/model/decoder_tensors.h"
#include "agents/engine/model/family.h"
#include "agents/engine/model/rope.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::model {
namespace {

constexpr size_t kMaxConfigBytes = 16U << 20U;

nlohmann::json parse_object(const std::string& text, const std::string& origin) {
  auto parsed = nlohmann::json::parse(text, nullptr, false);
  if (!parsed.is_object()) fail_config(origin, "the file is no JSON object");
  return parsed;
}

nlohmann::json read_json(const std::filesystem::path& path) {
  return parse_object(base::read_file(path, kMaxConfigBytes), path.string());
}

Architecture architecture_from_container(const std::filesystem::path& path) {
  const auto config = Container(path).file("config.json");
  if (!config) fail_config(path.string(), "there is no config.json in it");
  const std::string origin = path.string() + "/config.json";
  return architecture_from_config(parse_object(*config, origin), origin);
}

}  // namespace

void check_architecture(const Architecture& architecture, const std::string& origin) {
  const auto in_range = [&](const char* key, int64_t value, int64_t low, int64_t high) {
    if (value < low || value > high) {
      fail_config(origin, std::string(key) + " is " + std::to_string(value) + ", expected " + std::to_string(low) +
                              " to " + std::to_string(high));
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
  if (architecture.head_dim % 2 != 0) fail_config(origin, "head_dim is odd; the rotary embedding needs pairs");
  if (architecture.num_attention_heads % architecture.num_key_value_heads != 0) {
    fail_config(origin, "num_attention_heads is no multiple of num_key_value_heads");
  }
  const auto positive = [&](const char* key, double value) {
    if (!(value > 0) || !std::isfinite(value)) fail_config(origin, std::string(key) + " is not above 0");
  };
  positive("rms_norm_eps", architecture.rms_norm_eps);
  positive("the factor of attention scores", architecture.attention_scale);
  positive("the factor of embeddings", architecture.embedding_scale);
  for (const double cap : {architecture.attention_softcap, architecture.logit_softcap}) {
    if (!(cap >= 0) || !std::isfinite(cap)) fail_config(origin, "a soft cap is below 0");
  }
  in_range("sliding_window", architecture.sliding_window, 0, INT64_MAX);
  if (architecture.positions == PositionKind::kLearned) return;
  in_range("the rotated part of head_dim", architecture.rotary_dim, 2, architecture.head_dim);
  if (architecture.rotary_dim % 2 != 0) fail_config(origin, "the rotated part of head_dim is odd, it needs pairs");
  check_rope(architecture.rope, architecture.rotary_dim, origin);
  check_rope(architecture.local_rope, architecture.rotary_dim, origin);
}

int64_t Architecture::parameter_count() const {
  int64_t count = 0;
  for (const DecoderTensor& tensor : decoder_tensors(*this)) {
    int64_t elements = 1;
    for (const int64_t size : tensor.shape) elements *= size;
    count += elements;
  }
  return count;
}

Architecture architecture_from_config(const nlohmann::json& config, const std::string& origin) {
  if (!config.is_object()) fail_config(origin, "the configuration is no JSON object");
  const ConfigReader reader(config, origin);
  Architecture architecture;
  architecture.family = reader.text("model_type", "");
  const Family* family = find_family(architecture.family);
  if (family == nullptr) {
    fail_unsupported(origin, "model_type is '" + architecture.family.substr(0, 80) + "'", known_families());
  }
  if (reader.find("quantization_config") != nullptr) {
    fail_unsupported(origin, "the weights are quantised (quantization_config)",
                     "weights in F32, F16 or BF16, and GGUF files");
  }
  architecture.tie_word_embeddings = reader.boolean("tie_word_embeddings", false);
  architecture.source_config = config;
  family->from_config(reader, architecture);
  if (architecture.attention_scale == 0 && architecture.head_dim > 0) {
    architecture.attention_scale = 1 / std::sqrt(static_cast<double>(architecture.head_dim));
  }
  reader.end_tokens(architecture.eos_token_ids);
  architecture.bos_token_id = reader.token_id("bos_token_id");
  architecture.pad_token_id = reader.token_id("pad_token_id");
  check_architecture(architecture, origin);
  return architecture;
}

nlohmann::ordered_json config_from_architecture(const Architecture& architecture, const std::string& torch_dtype) {
  nlohmann::ordered_json config = nlohmann::ordered_json::object();
  if (architecture.source_config.is_object()) {
    config = nlohmann::ordered_json::parse(architecture.source_config.dump());
    config.erase("dtype");  // transformers 5's name of torch_dtype
  } else {
    config["model_type"] = architecture.family;
    find_family(architecture.family)->to_config(architecture, config);
    config["use_cache"] = true;
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
  return config;
}

Architecture load_architecture(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) {
    throw base::Error(base::kNotFound, "there is no model at " + path.string(), "check the path");
  }
  if (!std::filesystem::is_directory(path)) {
    if (path.extension() == ".gguf") {
      Architecture architecture = architecture_from_gguf(path);
      architecture.path = path;
      return architecture;
    }
    if (is_container(path)) {
      Architecture architecture = architecture_from_container(path);
      architecture.path = path;
      return architecture;
    }
    throw base::Error(base::kUnsupported, path.string() + " is no model that is known here",
                      "give a Hugging Face folder, a .gguf or a .slipway file");
  }
  const auto config = path / "config.json";
  if (!std::filesystem::exists(config)) fail_config(path.string(), "there is no config.json");
  Architecture architecture = architecture_from_config(read_json(config), config.string());
  architecture.path = path;
  // Chat models often list more end tokens here than in config.json.
  const auto generation = path / "generation_config.json";
  if (std::filesystem::exists(generation)) {
    const auto parsed = read_json(generation);
    const std::string origin = generation.string();
    ConfigReader(parsed, origin).end_tokens(architecture.eos_token_ids);
  }
  return architecture;
}

}  // namespace slipway::model
