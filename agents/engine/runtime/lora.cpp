#include "agents/engine/runtime/lora.h"

#include <cmath>
#include <memory>
#include <optional>

#include "agents/engine/model/adapter.h"
#include "agents/engine/model/decoder_tensors.h"
#include "agents/engine/runtime/base_weights.h"
#include "backend/base/error.h"

namespace slipway::runtime {
namespace {

// What of a layer an adapter may change; nothing for embeddings and the output.
std::optional<Module> module_of(model::Role role) {
  switch (role) {
    case model::Role::kQuery:
      return Module::kQuery;
    case model::Role::kKey:
      return Module::kKey;
    case model::Role::kValue:
      return Module::kValue;
    case model::Role::kAttentionOutput:
      return Module::kOutput;
    case model::Role::kGate:
      return Module::kGate;
    case model::Role::kUp:
      return Module::kUp;
    case model::Role::kDown:
      return Module::kDown;
    default:
      return std::nullopt;
  }
}

// Norms of the rows of W + B A; b is scaled.
std::vector<float> row_norms(const model::Weights& weights, const std::string& name, const LoraLinear& linear,
                             int64_t in) {
  const auto out = static_cast<int64_t>(linear.b.size()) / linear.rank;
  std::vector<float> row(static_cast<size_t>(in)), norms(static_cast<size_t>(out));
  for (int64_t i = 0; i < out; ++i) {
    weights.read_rows_f32(name, i, row);
    for (int64_t k = 0; k < linear.rank; ++k) {
      const float factor = linear.b[static_cast<size_t>(i * linear.rank + k)];
      const float* a = linear.a.data() + k * in;
      for (int64_t j = 0; j < in; ++j) row[static_cast<size_t>(j)] += factor * a[j];
    }
    double squares = 0;
    for (const float value : row) squares += static_cast<double>(value) * static_cast<double>(value);
    norms[static_cast<size_t>(i)] = static_cast<float>(std::sqrt(squares));
  }
  return norms;
}

}  // namespace

Lora load_lora(const std::filesystem::path& folder, const model::Architecture& architecture) {
  const model::Adapter adapter = model::load_adapter(folder, model::DoraAdapters::kTaken);
  std::unique_ptr<const model::Weights> base;
  if (adapter.config.use_dora) base = open_base_weights(architecture);
  Lora lora;
  lora.layers.resize(static_cast<size_t>(architecture.num_hidden_layers));
  for (const model::AdapterTensor& tensor : adapter.tensors) {
    const auto scaling = static_cast<float>(adapter.scaling(tensor));
    const auto parts = model::parts_of_module(architecture, tensor.module);
    if (parts.empty() || !module_of(parts[0].tensor.role)) {
      throw base::Error(
          base::kInvalidModel,
          folder.string() + ": the adapter changes " + tensor.module + ", which the base model does not have",
          "use an adapter that was trained on this base model, on its attention and MLP projections");
    }
    const int64_t in = parts[0].tensor.shape[1], out = parts[0].file_rows;
    if (tensor.in_features != in || tensor.out_features != out) {
      throw base::Error(base::kInvalidModel,
                        folder.string() + ": " + tensor.module + " is adapted as " +
                            std::to_string(tensor.out_features) + " × " + std::to_string(tensor.in_features) +
                            ", the base model has " + std::to_string(out) + " × " + std::to_string(in),
                        "use an adapter that was trained on this base model");
    }
    for (const model::ModulePart& part : parts) {
      const auto module = static_cast<size_t>(*module_of(part.tensor.role));
      LoraLinear& linear = lora.layers[static_cast<size_t>(part.tensor.layer)][module];
      linear.rank = tensor.rank;
      linear.a = tensor.a;
      for (const int64_t row : part.rows) {
        const auto begin = tensor.b.begin() + row * tensor.rank;
        linear.b.insert(linear.b.end(), begin, begin + tensor.rank);
      }
      for (float& value : linear.b) value *= scaling;
      if (tensor.magnitude.empty()) continue;
      linear.gain = row_norms(*base, part.tensor.name(), linear, in);
      for (size_t i = 0; i < linear.gain.size(); ++i) {
        linear.gain[i] = tensor.magnitude[static_cast<size_t>(part.rows[i])] / linear.gain[i];
        for (int64_t k = 0; k < tensor.rank; ++k)
          linear.b[i * static_cast<size_t>(tensor.rank) + static_cast<size_t>(k)] *= linear.gain[i];
      }
    }
  }
  return lora;
}

}  // namespace slipway::runtime
