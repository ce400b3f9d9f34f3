// The weights of a decoder: read from a model's files, kept up to date with the masters, and fetched unit by unit where
// they are shared out among ranks.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "agents/engine/model/weights.h"
#include "agents/engine/train/decoder/decoder.h"

namespace slipway::train {

namespace {

constexpr char kEmbeddings[] = "model.embed_tokens.weight";
constexpr char kPositions[] = "model.embed_positions.weight";
constexpr char kOutput[] = "lm_head.weight";

// The parts with those that get an adapter marked. What the model's files keep as one layer becomes one part, since an
// adapter of theirs has one A for it.
std::vector<LinearPart> with_adapters(std::vector<LinearPart> parts, const std::vector<model::AdapterModule>& modules,
                                      const MethodSettings& method) {
  std::vector<LinearPart> result;
  for (LinearPart& part : parts) {
    const auto module = std::find_if(modules.begin(), modules.end(), [&](const model::AdapterModule& one) {
      return std::find(one.weights.begin(), one.weights.end(), part.module) != one.weights.end();
    });
    if (module == modules.end() || !method.adapts(*module)) {
      result.push_back(std::move(part));
    } else if (!result.empty() && result.back().module == module->name) {
      result.back().out_features += part.out_features;
    } else {
      result.push_back({module->name, part.out_features, true});
      result.back().scaling = method.scaling(module->name);
    }
  }
  return result;
}

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
    if (!tied_ && !options.scores) output_parameter_ = add(kOutput);
  }
  if (options.scores) {
    score_head_.emplace(full_ ? "score.weight" : "base_model.model.score.weight", architecture.hidden_size,
                        parameters_);
  }
  if (method.type == MethodType::kPrompt) {
    virtual_tokens_.emplace(method.prompt, architecture.hidden_size, parameters_);
  }
  read_embeddings(weights);
  final_norm_ = make_norm(weights, "model.norm", architecture_.hidden_size, full_);
  if (options_.residence != nullptr) {
    options_.residence->adopt(0, frozen_outside_layers());
    embedding_.release();
    output_weight_.release();
  }
  layers_ = make_layers(weights, method);
  if (full_) {
    lowest_trained_ = trains_embeddings ? 0 : std::min(method.freeze_layers, architecture_.num_hidden_layers);
  } else if (!virtual_tokens_) {
    const auto is_trained = [](const DecoderLayer& layer) {
      const auto linears = layer.linears();
      return std::any_of(linears.begin(), linears.end(), [](const AdaptedLinear* l) { return l->is_trained(); });
    };
    lowest_trained_ = std::find_if(layers_.begin(), layers_.end(), is_trained) - layers_.begin();
  }
  if (options_.residence != nullptr) {
    options_.residence->share_out(parameters_, static_cast<size_t>(lowest_trained_) + 1);
  } else {
    parameters_.allocate(options_.device, options_.trainable);
  }
  if (full_) take_masters(weights);
  refresh();
}

void Decoder::take_masters(const model::Weights& weights) {
  for (size_t i = 0; i < parameters_.list().size(); ++i) {
    if (score_parameter() != i) set_master(i, read(weights, parameters_.list()[i].name));
  }
}

void Decoder::set_master(size_t index, const at::Tensor& value) {
  if (options_.residence != nullptr) {
    options_.residence->fill(parameters_, index, value);
  } else {
    parameters_.value(index).copy_(value);
  }
}

void Decoder::read_embeddings(const model::Weights& weights) {
  const auto typed = [&](const char* name) { return read(weights, name).to(options_.device, compute_.type); };
  if (!embedding_parameter_) embedding_ = ProductWeight(typed(kEmbeddings));
  if (has_output() && !output_parameter_) output_weight_ = ProductWeight(typed(kOutput));
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
  const LoraOptions lora{method.r, method.lora_dropout};
  const std::vector<model::AdapterModule> modules = model::adapter_modules(a);
  const bool quantized = method.quantization != Quantization::kNone;
  std::vector<DecoderLayer> layers;
  layers.reserve(static_cast<size_t>(a.num_hidden_layers));
  for (int64_t i = 0; i < a.num_hidden_layers; ++i) {
    parameters_.begin_unit();
    const std::string prefix = "model.layers." + std::to_string(i) + ".";
    const bool trained = full_ && i >= method.freeze_layers;
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
        // A trained one's values come with the masters.
        if (!trained) {
          rows.push_back(quantized ? read(weights, name) : read(weights, name).to(options_.device, compute_.type));
        }
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
      parts = with_adapters(std::move(parts), modules, method);
      for (LinearPart& part : parts) {
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
      at::Tensor weight;
      if (trained) {
        const auto add_up = [](int64_t sum, const LinearPart& part) { return sum + part.out_features; };
        weight = at::zeros({1}).expand({std::accumulate(parts.begin(), parts.end(), int64_t{0}, add_up), in_features});
      } else {
        weight = rows.size() == 1 ? rows.front() : at::cat(rows, 0);
      }
      AdaptedLinear linear(compute_, std::move(parts), std::move(weight),
                           biases.empty() ? at::Tensor() : at::cat(biases, 0), lora, trained_at);
      if (quantized) linear.quantize(method.quantization, method.double_quantization);
      return linear;
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
    if (options_.residence != nullptr) {
      options_.residence->adopt(static_cast<size_t>(i) + 1, layers.back().frozen());
      layers.back().release();
    }
  }
  return layers;
}

void Decoder::copy_parameters(const Decoder& other) {
  parameters_.values.copy_(other.parameters_.values);
  refresh();
}

void Decoder::refresh() {
  if (options_.residence != nullptr) return;  // done whenever weights come
  c10::AutoGradMode no_gradient(false);
  refresh_outside_layers();
  for (DecoderLayer& layer : layers_) layer.refresh(parameters_);
}

void Decoder::refresh_outside_layers() {
  const auto compute_copy = [&](size_t index) { return parameters_.value(index).to(compute_.type); };
  if (embedding_parameter_ && !options_.device.is_cpu()) embedding_.assign(compute_copy(*embedding_parameter_));
  if (output_parameter_ && !options_.device.is_cpu()) output_weight_.assign(compute_copy(*output_parameter_));
  if (position_parameter_) positions_ = compute_copy(*position_parameter_);
  final_norm_.refresh(parameters_);
}

std::vector<at::Tensor> Decoder::frozen_outside_layers() const {
  std::vector<at::Tensor> weights;
  if (!embedding_parameter_) weights.push_back(embedding_.rows());
  if (has_output() && !output_parameter_) weights.push_back(output_weight_.rows());
  return weights;
}

void Decoder::enter(size_t unit, Pass pass) {
  if (options_.residence == nullptr) return;
  const std::vector<at::Tensor>& frozen = options_.residence->enter(parameters_, unit, pass);
  if (unit > 0) {
    layers_[unit - 1].set_frozen(frozen);
    layers_[unit - 1].refresh(parameters_);
    return;
  }
  if (!embedding_parameter_) embedding_.assign(frozen.front());
  if (has_output() && !output_parameter_) output_weight_.assign(frozen.back());
  refresh_outside_layers();
}

void Decoder::leave(size_t unit, Pass pass) {
  if (options_.residence == nullptr) return;
  if (unit > 0) {
    layers_[unit - 1].release();
  } else {
    embedding_.release();
    output_weight_.release();
    final_norm_.release();
    if (position_parameter_) positions_.reset();
  }
  options_.residence->leave(parameters_, unit, pass);
}

void Decoder::idle(bool trains) {
  enter(0, trains ? Pass::kBackward : Pass::kForward);
  for (size_t unit = 1; unit <= layers_.size(); ++unit) {
    enter(unit, Pass::kForward);
    leave(unit, Pass::kForward);
  }
  for (size_t unit = layers_.size(); trains && unit > static_cast<size_t>(lowest_trained_); --unit) {
    enter(unit, Pass::kBackward);
    leave(unit, Pass::kBackward);
  }
  leave(0, trains ? Pass::kBackward : Pass::kForward);
}

}  // namespace slipway::train
