#include "agents/engine/train/decoder.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "agents/engine/model/weights.h"
#include "agents/engine/train/output_loss.h"
#include "agents/engine/train/random.h"
#include "agents/engine/train/tensor_ops.h"
#include "backend/base/error.h"

namespace slipway::train {

namespace {

constexpr char kLoraA[] = ".lora_A.weight";

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t dimension : shape) text += (text.empty() ? "" : "x") + std::to_string(dimension);
  return text;
}

}  // namespace

std::string lora_tensor_name(const std::string& module, char matrix) {
  return "base_model.model." + module + ".lora_" + matrix + ".weight";
}

at::Tensor Decoder::read(const model::Weights& weights, const std::string& name,
                         const std::vector<int64_t>& shape) const {
  const model::TensorView view = weights.get(name);
  if (view.shape != shape) {
    throw base::Error(
        base::kInvalidModel,
        "tensor " + name + " is " + shape_text(view.shape) + ", but the configuration asks for " + shape_text(shape),
        "check that config.json belongs to these weights");
  }
  at::Tensor tensor = at::empty(shape, at::kFloat);
  weights.read_f32(name, {tensor.data_ptr<float>(), static_cast<size_t>(tensor.numel())});
  return tensor;
}

Decoder::Decoder(const model::Architecture& architecture, const model::Weights& weights, const MethodSettings& method,
                 const DecoderOptions& options)
    : architecture_(architecture),
      options_(options),
      full_(method.type == MethodType::kFull),
      inverse_frequencies_(model::rope_inverse_frequencies(architecture)) {
  const model::Architecture& a = architecture_;
  if (const std::string beyond = model::beyond_llama(a); !beyond.empty()) {
    throw base::Error(base::kUnsupported, a.family + " models have " + beyond + ", which training does not compute",
                      "known: models like Llama, SmolLM2 and Mistral without a sliding window");
  }
  const at::Tensor embedding = read(weights, "model.embed_tokens.weight", {a.vocab_size, a.hidden_size});
  const at::Tensor norm = read(weights, "model.norm.weight", {a.hidden_size});
  at::Tensor output;
  if (!a.tie_word_embeddings) output = read(weights, "lm_head.weight", {a.vocab_size, a.hidden_size});
  if (full_) {
    embedding_parameter_ = parameters_.add("model.embed_tokens.weight", embedding.sizes().vec(), true);
    if (output.defined()) output_parameter_ = parameters_.add("lm_head.weight", output.sizes().vec(), true);
    final_norm_parameter_ = parameters_.add("model.norm.weight", norm.sizes().vec(), false);
  }
  embedding_ = embedding.to(options_.device, options_.compute_type);
  output_weight_ = output.defined() ? output.to(options_.device, options_.compute_type) : embedding_;
  final_norm_ = norm.to(options_.device);
  layers_ = make_layers(weights, method);
  parameters_.allocate(options_.device, options_.trainable);
  if (full_) {
    for (size_t i = 0; i < parameters_.list().size(); ++i) {
      const Parameter& p = parameters_.list()[i];
      parameters_.value(i).copy_(read(weights, p.name, p.shape));
    }
  }
  refresh();
}

std::vector<DecoderLayer> Decoder::make_layers(const model::Weights& weights, const MethodSettings& method) {
  const model::Architecture& a = architecture_;
  const LoraOptions lora{method.r, method.scaling(), method.lora_dropout};
  std::vector<DecoderLayer> layers;
  for (int64_t i = 0; i < a.num_hidden_layers; ++i) {
    const std::string prefix = "model.layers." + std::to_string(i) + ".";
    const auto norm = [&](const std::string& name, std::optional<size_t>& parameter) {
      if (full_) parameter = parameters_.add(prefix + name, {a.hidden_size}, false);
      return read(weights, prefix + name, {a.hidden_size}).to(options_.device);
    };
    LayerNorms norms;
    norms.weight1 = norm("input_layernorm.weight", norms.parameter1);
    norms.weight2 = norm("post_attention_layernorm.weight", norms.parameter2);

    // Layers that read the same input are stacked into one.
    const auto stack = [&](std::vector<LinearPart> parts, int64_t in_features, bool has_bias) {
      std::vector<at::Tensor> rows, biases;
      std::optional<AdaptedLinear::Trained> trained;
      for (LinearPart& part : parts) {
        part.module.insert(0, prefix);
        const std::string name = part.module + ".weight";
        if (full_) {
          const size_t index = parameters_.add(name, {part.out_features, in_features}, true);
          if (!trained) trained = AdaptedLinear::Trained{index, std::nullopt};
        }
        rows.push_back(
            read(weights, name, {part.out_features, in_features}).to(options_.device, options_.compute_type));
      }
      for (const LinearPart& part : parts) {
        if (!has_bias) break;
        const std::string name = part.module + ".bias";
        if (full_) {
          const size_t index = parameters_.add(name, {part.out_features}, false);
          if (!trained->first_bias) trained->first_bias = index;
        }
        biases.push_back(read(weights, name, {part.out_features}).to(options_.device));
      }
      if (!full_) {
        for (LinearPart& part : parts) {
          const std::string short_name = part.module.substr(part.module.rfind('.') + 1);
          part.adapted = std::find(method.target_modules.begin(), method.target_modules.end(), short_name) !=
                         method.target_modules.end();
          if (part.adapted)
            part.lora_a = parameters_.add(lora_tensor_name(part.module, 'A'), {method.r, in_features}, true);
        }
        for (LinearPart& part : parts) {
          if (part.adapted)
            part.lora_b = parameters_.add(lora_tensor_name(part.module, 'B'), {part.out_features, method.r}, true);
        }
      }
      return AdaptedLinear(std::move(parts), rows.size() == 1 ? rows.front() : at::cat(rows, 0),
                           biases.empty() ? at::Tensor() : at::cat(biases, 0), lora, trained);
    };
    const int64_t queries = a.num_attention_heads * a.head_dim, keys = a.num_key_value_heads * a.head_dim;
    AdaptedLinear qkv = stack({{"self_attn.q_proj", queries}, {"self_attn.k_proj", keys}, {"self_attn.v_proj", keys}},
                              a.hidden_size, a.attention_bias);
    AdaptedLinear o = stack({{"self_attn.o_proj", a.hidden_size}}, queries, a.attention_bias);
    AdaptedLinear gate_up = stack({{"mlp.gate_proj", a.intermediate_size}, {"mlp.up_proj", a.intermediate_size}},
                                  a.hidden_size, a.mlp_bias);
    AdaptedLinear down = stack({{"mlp.down_proj", a.hidden_size}}, a.intermediate_size, a.mlp_bias);
    layers.emplace_back(a, options_.compute_type, std::move(norms), std::move(qkv), std::move(o), std::move(gate_up),
                        std::move(down), static_cast<uint64_t>(i));
  }
  return layers;
}

void Decoder::initialize_lora(uint64_t seed) {
  for (size_t i = 0; i < parameters_.list().size(); ++i) {
    const Parameter& p = parameters_.list()[i];
    if (!p.name.ends_with(kLoraA)) {
      parameters_.value(i).zero_();
      continue;
    }
    const float bound = 1.0F / std::sqrt(static_cast<float>(p.shape.back()));
    at::Tensor values = at::empty(p.shape, at::kFloat);
    float* data = values.data_ptr<float>();
    Random random(mix_seed(seed, p.name));
    for (int64_t k = 0; k < p.size; ++k) data[k] = (2.0F * random.uniform() - 1.0F) * bound;
    parameters_.value(i).copy_(values);
  }
  refresh();
}

void Decoder::copy_parameters(const Decoder& other) {
  parameters_.values.copy_(other.parameters_.values);
  refresh();
}

void Decoder::refresh() {
  c10::AutoGradMode no_gradient(false);
  if (full_) {
    const auto compute_copy = [&](size_t index) { return parameters_.value(index).to(options_.compute_type); };
    embedding_ = compute_copy(*embedding_parameter_);
    output_weight_ = output_parameter_ ? compute_copy(*output_parameter_) : embedding_;
    final_norm_ = parameters_.value(*final_norm_parameter_);
  }
  for (DecoderLayer& layer : layers_) layer.refresh(parameters_);
}

at::Tensor Decoder::indices(const std::vector<int64_t>& values) const {
  at::Tensor tensor = at::empty({static_cast<int64_t>(values.size())}, at::kLong);
  if (!values.empty()) std::memcpy(tensor.data_ptr<int64_t>(), values.data(), values.size() * sizeof(int64_t));
  return tensor.to(options_.device);
}

BatchContext Decoder::context_of(const Batch& batch, uint64_t dropout_seed) const {
  const auto n = static_cast<int64_t>(batch.positions.size());
  const auto half = static_cast<int64_t>(inverse_frequencies_.size());
  at::Tensor cosine = at::empty({n, 1, half}, at::kFloat), sine = at::empty({n, 1, half}, at::kFloat);
  float* const c = cosine.data_ptr<float>();
  float* const s = sine.data_ptr<float>();
  for (int64_t i = 0; i < n; ++i) {
    const auto position = static_cast<float>(batch.positions[i]);
    for (int64_t k = 0; k < half; ++k) {
      const double angle = position * inverse_frequencies_[k];  // rounded to f32 first, as transformers does
      c[i * half + k] = static_cast<float>(std::cos(angle));
      s[i * half + k] = static_cast<float>(std::sin(angle));
    }
  }
  return {batch.document_starts, cosine.to(options_.device), sine.to(options_.device), dropout_seed};
}

at::Tensor Decoder::embed(const at::Tensor& tokens) const { return at::embedding(embedding_, tokens).to(at::kFloat); }

at::Tensor Decoder::run_layers(const Batch& batch, const BatchContext& context, std::vector<LayerMemory>* memories,
                               std::vector<at::Tensor>* inputs) const {
  at::Tensor x = embed(indices(batch.tokens));
  for (size_t i = 0; i < layers_.size(); ++i) {
    if (inputs != nullptr) inputs->push_back(x);
    layers_[i].forward(x, context, memories != nullptr ? &(*memories)[i] : nullptr);
  }
  return x;
}

LossSum Decoder::train(const Batch& batch, double scale, uint64_t dropout_seed) {
  c10::AutoGradMode no_gradient(false);
  const BatchContext context = context_of(batch, dropout_seed);
  std::vector<LayerMemory> memories(layers_.size());
  std::vector<at::Tensor> inputs;
  const bool recompute = options_.gradient_checkpointing;
  const at::Tensor x = run_layers(batch, context, recompute ? nullptr : &memories, recompute ? &inputs : nullptr);

  // Norm and output projection only where a token is trained.
  const at::Tensor rows = indices(batch.target_rows), targets = indices(batch.targets);
  const at::Tensor selected = x.index_select(0, rows);
  at::Tensor inverse_rms, dhidden;
  const at::Tensor hidden =
      rms_norm(selected, final_norm_, architecture_.rms_norm_eps, options_.compute_type, inverse_rms);
  at::Tensor output_gradient;
  if (full_) output_gradient = parameters_.gradient(output_parameter_ ? *output_parameter_ : *embedding_parameter_);
  const double loss = output_loss(hidden, output_weight_, targets, scale, &dhidden, output_gradient);
  at::Tensor dselected = at::zeros_like(selected);
  rms_norm_backward(dhidden, selected, final_norm_, inverse_rms, dselected,
                    final_norm_parameter_ ? parameters_.gradient(*final_norm_parameter_) : at::Tensor());
  at::Tensor dx = at::zeros_like(x).index_copy_(0, rows, dselected);

  for (size_t i = layers_.size(); i-- > 0;) {
    if (recompute) {
      at::Tensor again = std::exchange(inputs[i], at::Tensor());
      layers_[i].forward(again, context, &memories[i]);
    }
    layers_[i].backward(dx, context, memories[i], full_ || i > 0, parameters_);
  }
  if (embedding_parameter_) {
    at::Tensor gradient = parameters_.gradient(*embedding_parameter_);
    gradient.index_add_(0, indices(batch.tokens), dx);
  }
  return {loss, static_cast<int64_t>(batch.targets.size())};
}

LossSum Decoder::evaluate(const Batch& batch) {
  c10::AutoGradMode no_gradient(false);
  const at::Tensor x = run_layers(batch, context_of(batch, 0), nullptr, nullptr);
  at::Tensor inverse_rms;
  const at::Tensor hidden = rms_norm(x.index_select(0, indices(batch.target_rows)), final_norm_,
                                     architecture_.rms_norm_eps, options_.compute_type, inverse_rms);
  const double loss = output_loss(hidden, output_weight_, indices(batch.targets), 1.0, nullptr, {});
  return {loss, static_cast<int64_t>(batch.targets.size())};
}

std::vector<float> Decoder::logits(const std::vector<int64_t>& tokens) {
  c10::AutoGradMode no_gradient(false);
  Batch batch;
  batch.tokens = tokens;
  for (size_t i = 0; i < tokens.size(); ++i) batch.positions.push_back(static_cast<int64_t>(i));
  batch.document_starts = {0, static_cast<int64_t>(tokens.size())};
  const at::Tensor x = run_layers(batch, context_of(batch, 0), nullptr, nullptr);
  at::Tensor inverse_rms;
  const at::Tensor hidden = rms_norm(x, final_norm_, architecture_.rms_norm_eps, options_.compute_type, inverse_rms);
  const at::Tensor result = linear_forward(hidden, output_weight_, {}).to(at::kCPU, at::kFloat).contiguous();
  return {result.data_ptr<float>(), result.data_ptr<float>() + result.numel()};
}

}  // namespace slipway::train
