#include "agents/engine/train/work_count.h"

#include <algorithm>

namespace slipway::train {

namespace {

// Weights of one layer's products.
struct LayerWeights {
  double qkv = 0, others = 0;
};

LayerWeights weights_of(const model::Architecture& a) {
  const auto hidden = static_cast<double>(a.hidden_size), inner = static_cast<double>(a.intermediate_size);
  const auto queries = static_cast<double>(a.num_attention_heads * a.head_dim);
  const auto keys = static_cast<double>(a.num_key_value_heads * a.head_dim);
  return {hidden * (queries + 2 * keys), hidden * queries + (a.gated_mlp ? 3 : 2) * hidden * inner};
}

// Weights of the A and B of each layer's adapters.
std::vector<double> adapter_weights(const model::Architecture& a, const MethodSettings& method) {
  std::vector<double> layers(static_cast<size_t>(a.num_hidden_layers));
  for (const model::AdapterModule& module : model::adapter_modules(a)) {
    if (!method.adapts(module)) continue;
    layers[static_cast<size_t>(module.layer)] +=
        static_cast<double>(method.r * (module.in_features + module.out_features));
  }
  return layers;
}

// Pairs of positions of a document, each with itself and those before it inside the window.
double pairs_of(int64_t tokens, int64_t window) {
  const auto all = static_cast<double>(tokens), seen = static_cast<double>(window);
  if (window == 0 || tokens <= window) return all * (all + 1) / 2;
  return seen * (seen + 1) / 2 + (all - seen) * seen;
}

}  // namespace

WorkCount::WorkCount(const model::Architecture& architecture, const MethodSettings& method, ObjectiveType objective)
    : objective_(objective), virtual_tokens_(method.virtual_tokens()) {
  const bool full = method.type == MethodType::kFull, lora = method.type == MethodType::kLora;
  const bool trains_embeddings = full && !method.freeze_embeddings;
  const std::vector<double> adapters = adapter_weights(architecture, method);
  int64_t lowest = 0;  // layer with something trained
  if (full && !trains_embeddings) lowest = method.freeze_layers;
  if (lora) {
    lowest =
        std::find_if(adapters.begin(), adapters.end(), [](double weights) { return weights > 0; }) - adapters.begin();
  }
  const LayerWeights weights = weights_of(architecture);
  for (int64_t i = 0; i < architecture.num_hidden_layers; ++i) {
    const double forward = 2 * (weights.qkv + weights.others);
    per_token_ += forward;
    forward_per_token_ += forward;
    // The lowest layer's own input needs no gradient when nothing below it is trained.
    if (i >= lowest) per_token_ += 2 * weights.others;
    if (i > lowest || (i == lowest && !lora)) per_token_ += 2 * weights.qkv;
    if (full && i >= method.freeze_layers) per_token_ += 2 * (weights.qkv + weights.others);
    per_token_ += 6 * adapters[static_cast<size_t>(i)];
    forward_per_token_ += 2 * adapters[static_cast<size_t>(i)];
    const auto width = static_cast<double>(architecture.num_attention_heads * architecture.head_dim);
    attention_.push_back(
        {architecture.is_windowed(i) ? architecture.sliding_window : 0, (i >= lowest ? 12.0 : 4.0) * width, 4 * width});
  }
  // A reward model's score head costs nothing to speak of.
  if (objective == ObjectiveType::kReward) return;
  const auto output = static_cast<double>(architecture.hidden_size) * static_cast<double>(architecture.vocab_size);
  per_target_ = (trains_embeddings ? 6 : 4) * output;
  forward_per_target_ = 2 * output;
}

double WorkCount::document(int64_t tokens, int64_t targets) const {
  double work = per_token_ * static_cast<double>(tokens) + per_target_ * static_cast<double>(targets);
  for (const Attention& layer : attention_) work += layer.per_pair * pairs_of(tokens, layer.window);
  return work;
}

double WorkCount::forward(int64_t tokens, int64_t targets) const {
  double work = forward_per_token_ * static_cast<double>(tokens) + forward_per_target_ * static_cast<double>(targets);
  for (const Attention& layer : attention_) work += layer.forward_per_pair * pairs_of(tokens, layer.window);
  return work;
}

double WorkCount::rows(const RowSet& set, const std::vector<int64_t>& chosen) const {
  const Documents& documents = set.data->documents;
  double work = 0;
  for (const int64_t row : chosen) {
    for (const int64_t one : set.row(row)) {
      const bool every_token = objective_ == ObjectiveType::kOrpo && one == set.preference(row).chosen;
      const int64_t tokens = documents.length(one);
      work +=
          document(tokens + virtual_tokens_, every_token ? tokens - 1 : documents.targets(one, virtual_tokens_ > 0));
      if (objective_ != ObjectiveType::kKto) continue;
      const int64_t other = set.data->mismatched[static_cast<size_t>(one)];
      if (const int64_t targets = documents.targets(other, false); targets > 0) {
        work += forward(documents.length(other), targets);
      }
    }
  }
  return work;
}

}  // namespace slipway::train
