// A small random Llama on disk, and an adapter for it.
#pragma once

#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "agents/engine/model/adapter.h"
#include "agents/engine/model/architecture.h"
#include "agents/engine/model/prompt_adapter.h"
#include "agents/engine/model/weights.h"

namespace slipway::runtime {

inline std::vector<float> random_values(size_t count, float deviation, uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> distribution(0, deviation);
  std::vector<float> values(count);
  for (float& value : values) value = distribution(generator);
  return values;
}

inline model::Architecture tiny_architecture() {
  model::Architecture architecture;
  architecture.family = "llama";
  architecture.vocab_size = 131;
  architecture.hidden_size = 48;
  architecture.intermediate_size = 72;
  architecture.num_hidden_layers = 2;
  architecture.num_attention_heads = 6;
  architecture.num_key_value_heads = 2;
  architecture.head_dim = 8;
  architecture.max_position_embeddings = 256;
  architecture.tie_word_embeddings = true;
  architecture.eos_token_ids = {2};
  return architecture;
}

inline void write_tiny_model(const std::filesystem::path& folder, const model::Architecture& a = tiny_architecture()) {
  std::vector<std::vector<float>> values;
  std::vector<model::TensorView> views;
  uint32_t seed = 1;
  const auto add = [&](const std::string& name, std::vector<int64_t> shape) {
    size_t count = 1;
    for (const int64_t size : shape) count *= static_cast<size_t>(size);
    values.push_back(shape.size() == 1 ? std::vector<float>(count, 1.0F) : random_values(count, 0.3F, seed++));
    views.push_back({name, model::DType::kF32, std::move(shape), std::as_bytes(std::span(values.back()))});
  };
  values.reserve(1000);
  const int64_t queries = a.num_attention_heads * a.head_dim, keys = a.num_key_value_heads * a.head_dim;
  add("model.embed_tokens.weight", {a.vocab_size, a.hidden_size});
  add("model.norm.weight", {a.hidden_size});
  for (int64_t i = 0; i < a.num_hidden_layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    add(layer + "input_layernorm.weight", {a.hidden_size});
    add(layer + "post_attention_layernorm.weight", {a.hidden_size});
    add(layer + "self_attn.q_proj.weight", {queries, a.hidden_size});
    add(layer + "self_attn.k_proj.weight", {keys, a.hidden_size});
    add(layer + "self_attn.v_proj.weight", {keys, a.hidden_size});
    add(layer + "self_attn.o_proj.weight", {a.hidden_size, queries});
    add(layer + "mlp.gate_proj.weight", {a.intermediate_size, a.hidden_size});
    add(layer + "mlp.up_proj.weight", {a.intermediate_size, a.hidden_size});
    add(layer + "mlp.down_proj.weight", {a.hidden_size, a.intermediate_size});
  }
  std::filesystem::create_directories(folder);
  model::write_safetensors(folder / "model.safetensors", views);
  std::ofstream(folder / "config.json") << model::config_from_architecture(a, "float32");
}

inline void write_tiny_adapter(const std::filesystem::path& folder, uint32_t seed, int64_t in = 48) {
  model::Adapter adapter;
  adapter.config.r = 4;
  adapter.config.lora_alpha = 8;
  adapter.config.target_modules = {"q_proj", "up_proj"};
  for (int layer = 0; layer < 2; ++layer) {
    for (const auto& [name, out] : {std::pair{".self_attn.q_proj", 48}, {".mlp.up_proj", 72}}) {
      adapter.tensors.push_back({"model.layers." + std::to_string(layer) + name, 4, in, out,
                                 random_values(static_cast<size_t>(4 * in), 0.3F, ++seed * 7),
                                 random_values(static_cast<size_t>(4 * out), 0.3F, ++seed * 7)});
    }
  }
  model::save_adapter(folder, adapter);
}

// Of prompt tuning: `count` random virtual tokens.
inline void write_tiny_prompt(const std::filesystem::path& folder, int64_t count, uint32_t seed, int64_t width = 48) {
  model::PromptAdapter adapter;
  adapter.virtual_tokens = count;
  adapter.width = width;
  adapter.embeddings = random_values(static_cast<size_t>(count * width), 0.3F, seed);
  model::save_prompt_adapter(folder, adapter);
}

}  // namespace slipway::runtime
