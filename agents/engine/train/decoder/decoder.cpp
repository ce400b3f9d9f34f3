#include "agents/engine/train/decoder/decoder.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "agents/engine/model/weights.h"
#include "agents/engine/train/decoder/output_loss.h"
#include "agents/engine/train/data/random.h"
#include "agents/engine/train/decoder/tensor_ops.h"
#include "backend/base/error.h"

namespace slipway::train {

namespace {

constexpr char kEmbeddings[] = "model.embed_tokens.weight";
constexpr char kPositions[] = "model.embed_positions.weight";
constexpr char kOutput[] = "lm_head.weight";

}  // namespace

at::Tensor Decoder::read(const model::Weights& weights, const std::string& name) const {
  at::Tensor tensor = at::empty(weights.get(name).shape, at::kFloat);
  weights.read_f32(name, {tensor.data_ptr<float>(), static_cast<size_t>(tensor.numel())});
  return tensor;
}

Decoder::Decoder(const model::Architecture& architecture, const model::Weights& weights, const MethodSettings& method,
                 const DecoderOptions& options)
    : architecture_(architecture),
      options_(options),
      compute_(make_compute(options.device, options.compute_type, options.portable)),
      full_(method.type == MethodType::kFull),
      tied_(architecture.tie_word_embeddings) {
  const bool trains_embeddings = full_ && !method.freeze_embeddings;
  const auto add = [&](const char* name) {
    return parameters_.add({name, weights.get(name).shape, true, true, 1.0, 0, 0});
  };
  if (trains_embeddings) {
    embedding_parameter_ = add(kEmbeddings);
    if (architecture_.positions == model::PositionKind::kLearned) position_parameter_ = add(kPositions);
    if (!tied_) output_parameter_ = add(kOutput);
  }
  read_embeddings(weights);
  final_norm_ = make_norm(weights, "model.norm", architecture_.hidden_size, full_);
  layers_ = make_layers(weights, method);
  if (full_) {
    lowest_trained_ = trains_embeddings ? 0 : std::min(method.freeze_layers, architecture_.num_hidden_layers);
  } else {
    const auto is_trained = [](const DecoderLayer& layer) {
      const auto linears = layer.linears();
      return std::any_of(linears.begin(), linears.end(), [](const AdaptedLinear* l) { return l->is_trained(); });
    };
    lowest_trained_ = std::find_if(layers_.begin(), layers_.end(), is_trained) - layers_.begin();
  }
  parameters_.allocate(options_.device, options_.trainable);
  if (full_) {
    for (size_t i = 0; i < parameters_.list().size(); ++i) {
      parameters_.value(i).copy_(read(weights, parameters_.list()[i].name));
    }
  }
  refresh();
}

void Decoder::read_embeddings(const model::Weights& weights) {
  const auto typed = [&](const char* name) { return read(weights, name).to(options_.device, compute_.type); };
  embedding_ = Weight(typed(kEmbeddings));
  if (!tied_) output_weight_ = Weight(typed(kOutput));
  if (architecture_.positions == model::PositionKind::kLearned) positions_ = typed(kPositions);
}

Norm Decoder::make_norm(const model::Weights& weights, const std::string& name, int64_t width, bool trained) {
  Norm::Content content;
  content.weight = read(weights, name + ".weight").to(options_.device);
  if (trained) content.parameter = parameters_.add({name + ".weight", {width}, false, false, 1.0, 0, 0});
  if (weights.contains(name + ".bias")) {
    content.bias = read(weights, name + ".bias").to(options_.device);
    if (trained) content.bias_parameter = parameters_.add({name + ".bias", {width}, false, false, 1.0, 0, 0});
  }
  const bool of_head = name.ends_with("q_norm") || name.ends_with("k_norm");
  return {of_head ? model::NormKind::kRms : architecture_.norm, architecture_.rms_norm_eps, std::move(content)};
}

std::vector<DecoderLayer> Decoder::make_layers(const model::Weights& weights, const MethodSettings& method) {
  const model::Architecture& a = architecture_;
  const LoraOptions lora{method.r, method.scaling(), method.lora_dropout};
  std::vector<DecoderLayer> layers;
  layers.reserve(static_cast<size_t>(a.num_hidden_layers));
  for (int64_t i = 0; i < a.num_hidden_layers; ++i) {
    const std::string prefix = "model.layers." + std::to_string(i) + ".";
    const bool trained = full_ && i >= method.freeze_layers;
    const std::vector<int64_t>& chosen = method.layers_to_transform;
    const bool adapted = !full_ && (chosen.empty() || std::find(chosen.begin(), chosen.end(), i) != chosen.end());
    const auto norm = [&](const char* name, int64_t width) {
      return make_norm(weights, prefix + name, width, trained);
    };
    const auto optional_norm = [&](const char* name, int64_t width) {
      return weights.contains(prefix + name + ".weight") ? std::optional(norm(name, width)) : std::nullopt;
    };

    // Layers that read the same input are stacked into one.
    const auto stack = [&](std::vector<LinearPart> parts, int64_t in_features) {
      std::vector<at::Tensor> rows, biases;
      std::optional<AdaptedLinear::Trained> trained_at;
      for (LinearPart& part : parts) {
        part.module.insert(0, prefix);
        const std::string name = part.module + ".weight";
        if (trained) {
          const size_t index = parameters_.add({name, {part.out_features, in_features}, true, false, 1.0, 0, 0});
          if (!trained_at) trained_at = AdaptedLinear::Trained{index, std::nullopt};
        }
        rows.push_back(read(weights, name).to(options_.device, compute_.type));
      }
      for (const LinearPart& part : parts) {
        const std::string name = part.module + ".bias";
        if (!weights.contains(name)) continue;
        if (trained) {
          const size_t index = parameters_.add({name, {part.out_features}, false, false, 1.0, 0, 0});
          if (!trained_at->first_bias) trained_at->first_bias = index;
        }
        biases.push_back(read(weights, name).to(options_.device));
      }
      for (LinearPart& part : parts) {
        const std::string short_name = part.module.substr(part.module.rfind('.') + 1);
        part.adapted = adapted && std::find(method.target_modules.begin(), method.target_modules.end(), short_name) !=
                                      method.target_modules.end();
        if (!part.adapted) continue;
        part.lora_a =
            parameters_.add({lora_tensor_name(part.module, 'A'), {method.r, in_features}, true, false, 1.0, 0, 0});
      }
      for (LinearPart& part : parts) {
        if (!part.adapted) continue;
        part.lora_b = parameters_.add({lora_tensor_name(part.module, 'B'),
                                       {part.out_features, method.r},
                                       true,
                                       false,
                                       method.loraplus_lr_ratio,
                                       0,
                                       0});
      }
      for (LinearPart& part : parts) {
        if (!part.adapted || !method.use_dora) continue;
        part.magnitude = parameters_.add({magnitude_name(part.module), {part.out_features}, true, false, 1.0, 0, 0});
      }
      return AdaptedLinear(compute_, std::move(parts), rows.size() == 1 ? rows.front() : at::cat(rows, 0),
                           biases.empty() ? at::Tensor() : at::cat(biases, 0), lora, trained_at);
    };
    const int64_t queries = a.num_attention_heads * a.head_dim, keys = a.num_key_value_heads * a.head_dim;
    Norm norm1 = norm("input_layernorm", a.hidden_size), norm2 = norm("post_attention_layernorm", a.hidden_size);
    auto query_norm = optional_norm("self_attn.q_norm", a.head_dim);
    auto key_norm = optional_norm("self_attn.k_norm", a.head_dim);
    auto attention_output_norm = optional_norm("attention_output_norm", a.hidden_size);
    auto mlp_output_norm = optional_norm("mlp_output_norm", a.hidden_size);
    AdaptedLinear qkv =
        stack({{"self_attn.q_proj", queries}, {"self_attn.k_proj", keys}, {"self_attn.v_proj", keys}}, a.hidden_size);
    AdaptedLinear o = stack({{"self_attn.o_proj", a.hidden_size}}, queries);
    std::vector<LinearPart> inner;
    if (a.gated_mlp) inner.push_back({"mlp.gate_proj", a.intermediate_size});
    inner.push_back({"mlp.up_proj", a.intermediate_size});
    AdaptedLinear gate_up = stack(std::move(inner), a.hidden_size);
    AdaptedLinear down = stack({{"mlp.down_proj", a.hidden_size}}, a.intermediate_size);
    layers.emplace_back(architecture_, compute_,
                        LayerParts{std::move(norm1), std::move(norm2), std::move(query_norm), std::move(key_norm),
                                   std::move(attention_output_norm), std::move(mlp_output_norm), std::move(qkv),
                                   std::move(o), std::move(gate_up), std::move(down)},
                        i);
  }
  return layers;
}

void Decoder::copy_parameters(const Decoder& other) {
  parameters_.values.copy_(other.parameters_.values);
  refresh();
}

void Decoder::refresh() {
  c10::AutoGradMode no_gradient(false);
  const auto compute_copy = [&](size_t index) { return parameters_.value(index).to(compute_.type); };
  if (embedding_parameter_) {
    embedding_.assign(compute_copy(*embedding_parameter_));
  }
  if (output_parameter_) output_weight_.assign(compute_copy(*output_parameter_));
  if (position_parameter_) positions_ = compute_copy(*position_parameter_);
  final_norm_.refresh(parameters_);
  for (DecoderLayer& layer : layers_) layer.refresh(parameters_);
}

at::Tensor Decoder::indices(const std::vector<int64_t>& values) const {
  at::Tensor tensor = at::empty({static_cast<int64_t>(values.size())}, at::kLong);
  if (!values.empty()) std::memcpy(tensor.data_ptr<int64_t>(), values.data(), values.size() * sizeof(int64_t));
  return tensor.to(options_.device);
}

RotaryTables Decoder::rotary_tables(const Batch& batch, const model::Rope& rope) const {
  const std::vector<float> frequencies = model::rope_inverse_frequencies(rope, architecture_.rotary_dim);
  const auto n = static_cast<int64_t>(batch.positions.size());
  const auto half = static_cast<int64_t>(frequencies.size());
  at::Tensor cosine = at::empty({n, half}, at::kFloat), sine = at::empty({n, half}, at::kFloat);
  float* const c = cosine.data_ptr<float>();
  float* const s = sine.data_ptr<float>();
  for (int64_t i = 0; i < n; ++i) {
    const auto position = static_cast<float>(batch.positions[static_cast<size_t>(i)]);
    for (int64_t k = 0; k < half; ++k) {
      // Rounded to f32 first, as transformers does.
      const double angle = position * frequencies[static_cast<size_t>(k)];
      c[i * half + k] = static_cast<float>(std::cos(angle) * rope.attention_factor);
      s[i * half + k] = static_cast<float>(std::sin(angle) * rope.attention_factor);
    }
  }
  return {cosine.to(options_.device), sine.to(options_.device)};
}

BatchContext Decoder::context_of(const Batch& batch, uint64_t dropout_seed) const {
  BatchContext context{batch.document_starts, {}, {}, dropout_seed};
  if (architecture_.positions != model::PositionKind::kRotary) return context;
  context.rotary = rotary_tables(batch, architecture_.rope);
  if (architecture_.sliding_window > 0) context.local_rotary = rotary_tables(batch, architecture_.local_rope);
  return context;
}

at::Tensor Decoder::embed(const Batch& batch, uint64_t noise_seed) const {
  at::Tensor x = at::embedding(embedding_.rows(), indices(batch.tokens)).to(at::kFloat);
  if (architecture_.embedding_scale != 1.0) x.mul_(architecture_.embedding_scale);
  if (positions_.defined()) x.add_(at::embedding(positions_, indices(batch.positions)));
  if (noise_seed == 0 || options_.neftune_alpha <= 0) return x;
  at::Tensor noise = at::empty(x.sizes(), at::kFloat);
  Random random(noise_seed);
  float* const data = noise.data_ptr<float>();
  const int64_t width = x.size(1);
  for (size_t i = 0; i + 1 < batch.document_starts.size(); ++i) {
    const int64_t begin = batch.document_starts[i], end = batch.document_starts[i + 1];
    const auto size = static_cast<double>((end - begin) * width);
    const auto bound = static_cast<float>(options_.neftune_alpha / std::sqrt(size));
    for (int64_t k = begin * width; k < end * width; ++k) data[k] = (2.0F * random.uniform() - 1.0F) * bound;
  }
  return x.add_(noise.to(options_.device));
}

at::Tensor Decoder::run_layers(const Batch& batch, const BatchContext& context, uint64_t noise_seed,
                               std::vector<LayerMemory>* memories, std::vector<at::Tensor>* inputs) const {
  at::Tensor x = embed(batch, noise_seed);
  for (size_t i = 0; i < layers_.size(); ++i) {
    const bool needed = static_cast<int64_t>(i) >= lowest_trained_;  // by backward
    if (inputs != nullptr) inputs->push_back(needed ? x : at::Tensor());
    layers_[i].forward(x, context, memories != nullptr && needed ? &(*memories)[i] : nullptr);
  }
  return x;
}

double Decoder::train(const Batch& batch, double scale, StepSeeds seeds) {
  double loss = 0;
  train_batch(batch, nullptr, scale, seeds, &loss);
  return loss;
}

void Decoder::train_weighted(const Batch& batch, const WeighTargets& weigh, StepSeeds seeds) {
  train_batch(batch, &weigh, 0, seeds, nullptr);
}

void Decoder::train_batch(const Batch& batch, const WeighTargets* weigh, double scale, StepSeeds seeds, double* loss) {
  c10::AutoGradMode no_gradient(false);
  const BatchContext context = context_of(batch, seeds.dropout);
  std::vector<LayerMemory> memories(layers_.size());
  std::vector<at::Tensor> inputs;
  const bool recompute = options_.gradient_checkpointing;
  const at::Tensor x =
      run_layers(batch, context, seeds.noise, recompute ? nullptr : &memories, recompute ? &inputs : nullptr);

  // Norm and output projection only where a token is trained.
  const at::Tensor rows = indices(batch.target_rows), targets = indices(batch.targets);
  const at::Tensor selected = x.index_select(0, rows);
  NormMemory memory;
  const at::Tensor hidden = final_norm_.forward(compute_, selected, memory);
  const auto count = static_cast<int64_t>(batch.targets.size());
  at::Tensor weights = at::full({count}, scale, at::kFloat);
  if (weigh != nullptr) {
    const at::Tensor first = target_log_probabilities(compute_, hidden, output(), targets, architecture_.logit_softcap);
    const std::vector<float> given = (*weigh)({first.data_ptr<float>(), static_cast<size_t>(count)});
    std::memcpy(weights.data_ptr<float>(), given.data(), given.size() * sizeof(float));
  }
  at::Tensor output_gradient, dhidden;
  const std::optional<size_t>& parameter = tied_ ? embedding_parameter_ : output_parameter_;
  if (parameter) output_gradient = parameters_.gradient(*parameter);
  const at::Tensor log_probabilities = output_loss(compute_, hidden, output(), targets, weights.to(options_.device),
                                                   architecture_.logit_softcap, dhidden, output_gradient);
  if (loss != nullptr) *loss = -log_probabilities.sum(at::kDouble).item<double>();
  at::Tensor dselected = at::zeros_like(selected);
  final_norm_.backward(compute_, dhidden, selected, memory, dselected, parameters_);
  at::Tensor dx = at::zeros_like(x).index_copy_(0, rows, dselected);

  for (size_t i = layers_.size(); i-- > static_cast<size_t>(lowest_trained_);) {
    if (recompute) {
      at::Tensor again = std::exchange(inputs[i], at::Tensor());
      layers_[i].forward(again, context, &memories[i]);
    }
    layers_[i].backward(dx, context, memories[i], full_ || static_cast<int64_t>(i) > lowest_trained_, parameters_);
  }
  if (!embedding_parameter_) return;
  if (position_parameter_) parameters_.gradient(*position_parameter_).index_add_(0, indices(batch.positions), dx);
  parameters_.gradient(*embedding_parameter_)
      .index_add_(0, indices(batch.tokens),
                  architecture_.embedding_scale == 1.0 ? dx : dx * architecture_.embedding_scale);
}

std::vector<float> Decoder::log_probabilities(const Batch& batch) const {
  c10::AutoGradMode no_gradient(false);
  const at::Tensor x = run_layers(batch, context_of(batch, 0), 0, nullptr, nullptr);
  NormMemory memory;
  const at::Tensor hidden = final_norm_.forward(compute_, x.index_select(0, indices(batch.target_rows)), memory);
  const at::Tensor result =
      target_log_probabilities(compute_, hidden, output(), indices(batch.targets), architecture_.logit_softcap);
  return {result.data_ptr<float>(), result.data_ptr<float>() + result.numel()};
}

std::vector<float> Decoder::logits(const std::vector<int64_t>& tokens, int64_t rows) const {
  c10::AutoGradMode no_gradient(false);
  Batch batch;
  batch.tokens = tokens;
  const auto length = static_cast<int64_t>(tokens.size());
  for (int64_t i = 0; i < length; ++i) batch.positions.push_back(i);
  batch.document_starts = {0, length};
  const at::Tensor x = run_layers(batch, context_of(batch, 0), 0, nullptr, nullptr);
  NormMemory memory;
  const at::Tensor hidden = final_norm_.forward(compute_, x.narrow(0, length - rows, rows).contiguous(), memory);
  at::Tensor result = at::empty({rows, architecture_.vocab_size}, hidden.options());
  forward_product(compute_, hidden, output(), {}, {}, result);
  result = result.to(at::kCPU, at::kFloat);
  if (const double cap = architecture_.logit_softcap; cap > 0) result = result.div_(cap).tanh_().mul_(cap);
  return {result.data_ptr<float>(), result.data_ptr<float>() + result.numel()};
}

}  // namespace slipway::train
