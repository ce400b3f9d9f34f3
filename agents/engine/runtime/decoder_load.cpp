// How the decoder gets its weights.
#include <cmath>
#include <utility>

#include "agents/engine/runtime/decoder.h"
#include "agents/engine/runtime/weight_loader.h"

namespace slipway::runtime {

Decoder::Decoder(const std::filesystem::path& path, const model::Architecture& architecture,
                 kernels::WeightFormat format, int64_t max_length, ThreadPool& pool, const kernels::Table& table)
    : architecture_(architecture),
      format_(format),
      pool_(pool),
      table_(table),
      queries_(architecture.num_attention_heads * architecture.head_dim),
      keys_(architecture.num_key_value_heads * architecture.head_dim) {
  WeightLoader loader(path, architecture, table);
  const int64_t hidden = architecture.hidden_size;
  const auto output_format = kept_format(model::Role::kOutput, format);
  loader.matrix("model.embed_tokens.weight", architecture.vocab_size, hidden, output_format, embeddings_.weights);
  if (!architecture.tie_word_embeddings)
    loader.matrix("lm_head.weight", architecture.vocab_size, hidden, output_format, output_.weights);
  if (architecture.positions == model::PositionKind::kLearned) {
    loader.matrix("model.embed_positions.weight", architecture.max_position_embeddings, hidden,
                  kept_format(model::Role::kPositions, format), positions_embedded_.weights);
  }
  final_norm_ = load_norm(loader, "model.norm");
  layers_.reserve(static_cast<size_t>(architecture.num_hidden_layers));
  for (int64_t i = 0; i < architecture.num_hidden_layers; ++i) load_layer(loader, i, layers_.emplace_back());
  loader.load(pool);
  link();

  if (architecture.positions == model::PositionKind::kRotary) {
    angles_ = make_angles(architecture.rope, max_length);
    if (architecture.sliding_window > 0) local_angles_ = make_angles(architecture.local_rope, max_length);
  }
  strips_.resize(static_cast<size_t>(pool.threads()));
  int64_t scratch = kernels::attention_scratch_bytes(architecture.head_dim);
  for (const auto& [given, depth] : {std::pair{format, hidden},
                                     {format, architecture.intermediate_size},
                                     {format, queries_},
                                     {output_format, hidden}}) {
    // The loader keeps as kBF12 what it can.
    const auto kept = given == kernels::WeightFormat::kBF16 ? kernels::WeightFormat::kBF12 : given;
    scratch = std::max(scratch, kernels::matmul_scratch_bytes(kept, depth));
  }
  for (int i = 0; i < pool.threads(); ++i) scratch_.emplace_back(static_cast<size_t>(scratch));
}

// Says of each product's last matrix what comes after it.
void Decoder::link() {
  Linear* last = architecture_.tie_word_embeddings ? &embeddings_ : &output_;
  const auto follow = [&](const Linear& first, Linear& next) {
    constexpr int64_t kFetched = 128 * 1024;
    const Matrix& weights = first.weights;
    last->after = {weights.data(), static_cast<size_t>(std::min(kFetched, weights.panels() * weights.panel_bytes()))};
    last = &next;
  };
  for (Layer& layer : layers_) {
    follow(layer.query, layer.value);
    follow(layer.output, layer.output);
    follow(architecture_.gated_mlp ? layer.gate : layer.up, layer.up);
    follow(layer.down, layer.down);
  }
  Linear& head = architecture_.tie_word_embeddings ? embeddings_ : output_;
  follow(head, head);
}

Decoder::Angles Decoder::make_angles(const model::Rope& rope, int64_t max_length) const {
  const auto frequencies = model::rope_inverse_frequencies(rope, architecture_.rotary_dim);
  const auto factor = static_cast<float>(rope.attention_factor);
  Angles angles;
  angles.cosines.reserve(static_cast<size_t>(max_length) * frequencies.size());
  angles.sines.reserve(angles.cosines.capacity());
  for (int64_t position = 0; position < max_length; ++position) {
    for (const float frequency : frequencies) {
      const float angle = static_cast<float>(position) * frequency;
      angles.cosines.push_back(std::cos(angle) * factor);
      angles.sines.push_back(std::sin(angle) * factor);
    }
  }
  return angles;
}

Decoder::Norm Decoder::load_norm(WeightLoader& loader, const std::string& name) const {
  Norm norm{loader.vector(name + ".weight", architecture_.hidden_size), {}};
  if (architecture_.norm == model::NormKind::kLayer)
    norm.bias = loader.vector(name + ".bias", architecture_.hidden_size);
  return norm;
}

void Decoder::load_linear(WeightLoader& loader, const std::string& name, int64_t rows, int64_t columns, bool bias,
                          Linear& linear) {
  loader.matrix(name + ".weight", rows, columns, format_, linear.weights);
  if (bias) linear.bias = loader.vector(name + ".bias", rows);
}

void Decoder::load_layer(WeightLoader& loader, int64_t index, Layer& layer) {
  const int64_t hidden = architecture_.hidden_size, inner = architecture_.intermediate_size;
  const std::string prefix = "model.layers." + std::to_string(index) + ".";
  const std::string attention = prefix + "self_attn.", mlp = prefix + "mlp.";
  layer.attention_norm = load_norm(loader, prefix + "input_layernorm");
  layer.mlp_norm = load_norm(loader, prefix + "post_attention_layernorm");
  if (architecture_.output_norms) {
    layer.attention_output_norm = load_norm(loader, prefix + "attention_output_norm");
    layer.mlp_output_norm = load_norm(loader, prefix + "mlp_output_norm");
  }
  if (architecture_.query_key_norm) {
    layer.query_norm = loader.vector(attention + "q_norm.weight", architecture_.head_dim);
    layer.key_norm = loader.vector(attention + "k_norm.weight", architecture_.head_dim);
  }
  load_linear(loader, attention + "q_proj", queries_, hidden, architecture_.attention_bias, layer.query);
  load_linear(loader, attention + "k_proj", keys_, hidden, architecture_.attention_bias, layer.key);
  load_linear(loader, attention + "v_proj", keys_, hidden, architecture_.attention_bias, layer.value);
  load_linear(loader, attention + "o_proj", hidden, queries_, architecture_.attention_output_bias, layer.output);
  if (architecture_.gated_mlp)
    load_linear(loader, mlp + "gate_proj", inner, hidden, architecture_.mlp_bias, layer.gate);
  load_linear(loader, mlp + "up_proj", inner, hidden, architecture_.mlp_bias, layer.up);
  load_linear(loader, mlp + "down_proj", hidden, inner, architecture_.mlp_bias, layer.down);
}

}  // namespace slipway::runtime
