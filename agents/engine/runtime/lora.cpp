#include "agents/engine/runtime/lora.h"

#include <charconv>
#include <string_view>

#include "agents/engine/model/adapter.h"
#include "backend/base/error.h"

namespace slipway::runtime {
namespace {

constexpr std::array<std::string_view, kModules> kNames = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                                           "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                                           "mlp.down_proj"};

// Layer and module of "model.layers.3.mlp.up_proj"; false when it is no such name.
bool parse_module(std::string_view name, int64_t& layer, size_t& module) {
  constexpr std::string_view kPrefix = "model.layers.";
  if (!name.starts_with(kPrefix)) return false;
  name.remove_prefix(kPrefix.size());
  const auto number = std::from_chars(name.data(), name.data() + name.size(), layer);
  if (number.ec != std::errc() || number.ptr == name.data() + name.size() || *number.ptr != '.') return false;
  name.remove_prefix(static_cast<size_t>(number.ptr - name.data()) + 1);
  for (module = 0; module < kModules; ++module) {
    if (kNames[module] == name) return true;
  }
  return false;
}

std::pair<int64_t, int64_t> shape_of(Module module, const model::Architecture& architecture) {  // in, out
  const int64_t hidden = architecture.hidden_size;
  const int64_t queries = architecture.num_attention_heads * architecture.head_dim;
  const int64_t keys = architecture.num_key_value_heads * architecture.head_dim;
  switch (module) {
    case Module::kQuery:
      return {hidden, queries};
    case Module::kKey:
    case Module::kValue:
      return {hidden, keys};
    case Module::kOutput:
      return {queries, hidden};
    case Module::kGate:
    case Module::kUp:
      return {hidden, architecture.intermediate_size};
    case Module::kDown:
      return {architecture.intermediate_size, hidden};
  }
  return {0, 0};
}

}  // namespace

std::shared_ptr<const Lora> load_lora(const std::filesystem::path& folder, const model::Architecture& architecture) {
  model::Adapter adapter = model::load_adapter(folder);
  auto lora = std::make_shared<Lora>();
  lora->layers.resize(static_cast<size_t>(architecture.num_hidden_layers));
  const auto scaling = static_cast<float>(adapter.config.scaling());
  for (model::AdapterTensor& tensor : adapter.tensors) {
    int64_t layer = 0;
    size_t module = 0;
    if (!parse_module(tensor.module, layer, module) || layer < 0 || layer >= architecture.num_hidden_layers) {
      throw base::Error(
          base::kInvalidModel,
          folder.string() + ": the adapter changes " + tensor.module + ", which the base model does not have",
          "use an adapter that was trained on this base model, on its attention and MLP projections");
    }
    const auto [in, out] = shape_of(static_cast<Module>(module), architecture);
    if (tensor.in_features != in || tensor.out_features != out) {
      throw base::Error(base::kInvalidModel,
                        folder.string() + ": " + tensor.module + " is adapted as " +
                            std::to_string(tensor.out_features) + " × " + std::to_string(tensor.in_features) +
                            ", the base model has " + std::to_string(out) + " × " + std::to_string(in),
                        "use an adapter that was trained on this base model");
    }
    LoraLinear& linear = lora->layers[static_cast<size_t>(layer)][module];
    linear.rank = tensor.rank;
    linear.a = std::move(tensor.a);
    linear.b = std::move(tensor.b);
    for (float& value : linear.b) value *= scaling;
  }
  return lora;
}

}  // namespace slipway::runtime
