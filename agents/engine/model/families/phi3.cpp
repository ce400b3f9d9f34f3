// Phi-3 and Phi-4-mini: query, key and value in one tensor, gate and up in another.
#include <array>

#include "agents/engine/model/family.h"
#include "agents/engine/model/rope.h"

namespace slipway::model {
namespace {

bool is_qkv(Role role) { return role == Role::kQuery || role == Role::kKey || role == Role::kValue; }
bool is_gate_up(Role role) { return role == Role::kGate || role == Role::kUp; }

void from_config(const ConfigReader& reader, Architecture& architecture) {
  read_common_sizes(reader, architecture);
  if (reader.find("max_position_embeddings") == nullptr) architecture.max_position_embeddings = 4096;
  if (reader.find("rms_norm_eps") == nullptr) architecture.rms_norm_eps = 1e-5;
  architecture.activation = activation_from(reader.text("hidden_act", "silu"), reader.origin());
  read_rope(reader, architecture);
  read_window(reader, architecture, 0, [](int64_t) { return true; });
}

void from_gguf(const GgufFile& file, Architecture& architecture) {
  const int64_t window = file.find_int(gguf_key(file, "attention.sliding_window")).value_or(0);
  if (window == 0) return;
  architecture.sliding_window = window;
  architecture.windowed_layers.assign(static_cast<size_t>(std::min<int64_t>(architecture.num_hidden_layers, 1 << 12)),
                                      true);
}

void to_config(const Architecture& architecture, nlohmann::ordered_json& config) {
  config["architectures"] = {"Phi3ForCausalLM"};
  write_common_sizes(architecture, config);
  config.erase("head_dim");
  config["partial_rotary_factor"] =
      static_cast<double>(architecture.rotary_dim) / static_cast<double>(architecture.head_dim);
  config["original_max_position_embeddings"] = architecture.max_position_embeddings;
  config["sliding_window"] = nullptr;
  if (architecture.sliding_window > 0) config["sliding_window"] = architecture.sliding_window;
  write_rope(architecture, config);
}

TensorPlace place(const Architecture& architecture, const DecoderTensor& tensor) {
  if (is_qkv(tensor.role)) return part_of_qkv("model.layers.{}.self_attn.qkv_proj", architecture, tensor);
  if (is_gate_up(tensor.role)) return part_of_gate_up("model.layers.{}.mlp.gate_up_proj", architecture, tensor);
  return llama_place(architecture, tensor);
}

TensorPlace gguf_place(const Architecture& architecture, const DecoderTensor& tensor) {
  if (is_qkv(tensor.role)) return part_of_qkv("model.layers.{}.self_attn.qkv_proj", architecture, tensor);
  if (is_gate_up(tensor.role)) return part_of_gate_up("model.layers.{}.mlp.up_proj", architecture, tensor);
  return llama_place(architecture, tensor);
}

constexpr std::array<std::string_view, 1> kPhi3 = {"phi3"};

}  // namespace

const Family kPhi3Family = {kPhi3, kPhi3, from_config, from_gguf, to_config, place, gguf_place};

}  // namespace slipway::model
