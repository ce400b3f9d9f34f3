#include "agents/engine/train/decoder/decoder.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "agents/engine/train/data/random.h"
#include "agents/engine/train/decoder/output_loss.h"
#include "agents/engine/train/decoder/tensor_ops.h"

namespace slipway::train {

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
  const bool of_master = !embedding_.rows().defined();
  at::Tensor x =
      at::embedding(of_master ? parameters_.value(*embedding_parameter_) : embedding_.rows(), indices(batch.tokens))
          .to(compute_.type)
          .to(at::kFloat);
  if (architecture_.embedding_scale != 1.0) x.mul_(architecture_.embedding_scale);
  if (virtual_tokens_ && batch.virtual_tokens > 0) virtual_tokens_->put(parameters_, batch, x);
  if (positions_.defined()) x.add_(at::embedding(positions_, indices(batch.positions)));
  if (noise_seed == 0 || options_.neftune_alpha <= 0) return x;
  at::Tensor noise = at::zeros(x.sizes(), at::kFloat);
  Random random(noise_seed);
  float* const data = noise.data_ptr<float>();
  const int64_t width = x.size(1);
  for (size_t i = 0; i + 1 < batch.document_starts.size(); ++i) {
    const int64_t begin = batch.document_starts[i] + batch.virtual_tokens, end = batch.document_starts[i + 1];
    const auto size = static_cast<double>((end - begin) * width);
    const auto bound = static_cast<float>(options_.neftune_alpha / std::sqrt(size));
    for (int64_t k = begin * width; k < end * width; ++k) data[k] = (2.0F * random.uniform() - 1.0F) * bound;
  }
  return x.add_(noise.to(options_.device));
}

at::Tensor Decoder::run_layers(const Batch& batch, const BatchContext& context, uint64_t noise_seed,
                               std::vector<LayerMemory>* memories, std::vector<at::Tensor>* inputs) {
  at::Tensor x = embed(batch, noise_seed);
  for (size_t i = 0; i < layers_.size(); ++i) {
    const bool needed = static_cast<int64_t>(i) >= lowest_trained_;  // by backward
    if (inputs != nullptr) inputs->push_back(needed ? x : at::Tensor());
    enter(i + 1, Pass::kForward);
    layers_[i].forward(x, context, memories != nullptr && needed ? &(*memories)[i] : nullptr);
    leave(i + 1, Pass::kForward);
  }
  return x;
}

const ProductWeight& Decoder::output(ProductWeight& scratch) const {
  const ProductWeight& kept = tied_ ? embedding_ : output_weight_;
  if (kept.rows().defined()) return kept;
  scratch = ProductWeight::of_master(compute_, parameters_.value(*output_parameter()));
  return scratch;
}

double Decoder::train(const Batch& batch, double scale, StepSeeds seeds) {
  double loss = 0;
  train_batch(batch, nullptr, scale, seeds, &loss);
  return loss;
}

void Decoder::train_weighted(const Batch& batch, const WeighTargets& weigh, StepSeeds seeds) {
  train_batch(batch, &weigh, 0, seeds, nullptr);
}

at::Tensor Decoder::normed_targets(const Batch& batch, const at::Tensor& x, at::Tensor& selected,
                                   NormMemory& memory) const {
  selected = x.index_select(0, indices(batch.target_rows));
  return final_norm_.forward(compute_, selected, memory);
}

at::Tensor Decoder::head_backward(const Batch& batch, const at::Tensor& hidden, const WeighTargets* weigh, double scale,
                                  double* loss) {
  const auto count = hidden.size(0);
  at::Tensor weights = at::full({count}, scale, at::kFloat);
  const auto ask = [&](const at::Tensor& outcomes) {
    const std::vector<float> given = (*weigh)({outcomes.data_ptr<float>(), static_cast<size_t>(count)});
    std::memcpy(weights.data_ptr<float>(), given.data(), given.size() * sizeof(float));
  };
  if (score_head_) {
    ask(score_head_->forward(parameters_, hidden));
    return score_head_->backward(hidden, weights, parameters_);
  }
  const at::Tensor targets = indices(batch.targets);
  const double softcap = architecture_.logit_softcap;
  ProductWeight scratch;
  const ProductWeight& projection = output(scratch);
  if (weigh != nullptr) ask(target_log_probabilities(compute_, hidden, projection, targets, softcap, logits_scratch_));
  at::Tensor output_gradient, dhidden;
  if (output_parameter()) output_gradient = parameters_.gradient(*output_parameter());
  const at::Tensor log_probabilities = output_loss(compute_, hidden, projection, targets, weights.to(options_.device),
                                                   softcap, dhidden, output_gradient, logits_scratch_);
  if (loss != nullptr) *loss = -log_probabilities.sum(at::kDouble).item<double>();
  return dhidden;
}

void Decoder::train_batch(const Batch& batch, const WeighTargets* weigh, double scale, StepSeeds seeds, double* loss) {
  c10::AutoGradMode no_gradient(false);
  const BatchContext context = context_of(batch, seeds.dropout);
  std::vector<LayerMemory> memories(layers_.size());
  std::vector<at::Tensor> inputs;
  const bool recompute = options_.gradient_checkpointing;
  if (options_.device.is_cpu()) {
    const auto rows = static_cast<int64_t>(batch.tokens.size());
    const auto layers = recompute ? 1 : static_cast<int64_t>(layers_.size()) - lowest_trained_;
    kept_.begin(layers * layers_.front().kept_bytes(rows));
    for (LayerMemory& memory : memories) memory.place = &kept_;
  }
  enter(0, Pass::kBackward);
  const at::Tensor x =
      run_layers(batch, context, seeds.noise, recompute ? nullptr : &memories, recompute ? &inputs : nullptr);

  // Norm and head only where there is something to learn.
  NormMemory memory;
  at::Tensor selected;
  const at::Tensor hidden = normed_targets(batch, x, selected, memory);
  const at::Tensor dhidden = head_backward(batch, hidden, weigh, scale, loss);
  at::Tensor dselected = at::zeros_like(selected);
  final_norm_.backward(compute_, dhidden, selected, memory, dselected, parameters_);
  at::Tensor dx = at::zeros_like(x).index_copy_(0, indices(batch.target_rows), dselected);

  for (size_t i = layers_.size(); i-- > static_cast<size_t>(lowest_trained_);) {
    enter(i + 1, Pass::kBackward);
    if (recompute) {
      at::Tensor again = std::exchange(inputs[i], at::Tensor());
      kept_.begin();
      layers_[i].forward(again, context, &memories[i]);
    }
    const bool needs_input_gradient = full_ || virtual_tokens_ || static_cast<int64_t>(i) > lowest_trained_;
    layers_[i].backward(dx, context, memories[i], needs_input_gradient, parameters_);
    leave(i + 1, Pass::kBackward);
  }
  if (virtual_tokens_) virtual_tokens_->backward(batch, dx, parameters_);
  if (embedding_parameter_) {
    if (position_parameter_) parameters_.gradient(*position_parameter_).index_add_(0, indices(batch.positions), dx);
    parameters_.gradient(*embedding_parameter_)
        .index_add_(0, indices(batch.tokens),
                    architecture_.embedding_scale == 1.0 ? dx : dx * architecture_.embedding_scale);
  }
  leave(0, Pass::kBackward);
}

std::vector<float> Decoder::outcomes(const Batch& batch) {
  c10::AutoGradMode no_gradient(false);
  enter(0, Pass::kForward);
  const at::Tensor x = run_layers(batch, context_of(batch, 0), 0, nullptr, nullptr);
  NormMemory memory;
  at::Tensor selected;
  const at::Tensor hidden = normed_targets(batch, x, selected, memory);
  ProductWeight scratch;
  const at::Tensor result = score_head_
                                ? score_head_->forward(parameters_, hidden)
                                : target_log_probabilities(compute_, hidden, output(scratch), indices(batch.targets),
                                                           architecture_.logit_softcap, logits_scratch_);
  leave(0, Pass::kForward);
  return {result.data_ptr<float>(), result.data_ptr<float>() + result.numel()};
}

std::vector<float> Decoder::logits(const std::vector<int64_t>& tokens, int64_t rows) {
  c10::AutoGradMode no_gradient(false);
  enter(0, Pass::kForward);
  Batch batch;
  batch.virtual_tokens = virtual_token_count();
  batch.tasks = {0};
  batch.tokens.assign(static_cast<size_t>(batch.virtual_tokens), 0);
  batch.tokens.insert(batch.tokens.end(), tokens.begin(), tokens.end());
  const auto length = static_cast<int64_t>(batch.tokens.size());
  for (int64_t i = 0; i < length; ++i) batch.positions.push_back(i);
  batch.document_starts = {0, length};
  const at::Tensor x = run_layers(batch, context_of(batch, 0), 0, nullptr, nullptr);
  NormMemory memory;
  const at::Tensor hidden = final_norm_.forward(compute_, x.narrow(0, length - rows, rows).contiguous(), memory);
  at::Tensor result = at::empty({rows, architecture_.vocab_size}, hidden.options().dtype(at::kFloat));
  ProductWeight scratch;
  output_scores(compute_, hidden, output(scratch), result);
  result = result.to(at::kCPU);
  leave(0, Pass::kForward);
  if (const double cap = architecture_.logit_softcap; cap > 0) result = result.div_(cap).tanh_().mul_(cap);
  return {result.data_ptr<float>(), result.data_ptr<float>() + result.numel()};
}

}  // namespace slipway::train
