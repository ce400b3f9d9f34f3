// The generic decoder that is trained: reads a model::Architecture, runs on CPU or CUDA from the same source, and
// computes its gradients by hand. Used by trainer.cpp and export.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "agents/engine/model/architecture.h"
#include "agents/engine/train/data/packing.h"
#include "agents/engine/train/decoder/decoder_layer.h"
#include "agents/engine/train/decoder/parameters.h"
#include "agents/engine/train/decoder/residence.h"
#include "agents/engine/train/decoder/score_head.h"
#include "agents/engine/train/decoder/virtual_tokens.h"
#include "agents/engine/train/settings.h"

namespace slipway::model {
class Weights;
}

namespace slipway::train {

struct DecoderOptions {
  at::Device device = at::kCPU;
  at::ScalarType compute_type = at::kFloat;  // of weights, activations and products; masters and norms are f32
  bool gradient_checkpointing = false;
  bool scores = false;             // a score head in the place of the output projection
  bool trainable = true;           // false: only what needs no gradient, with half of the parameters' memory
  bool portable = false;           // libtorch's operations even where there are kernels of our own
  Residence* residence = nullptr;  // where the weights are shared out among ranks; outlives the decoder
  double neftune_alpha = 0;  // uniform noise of ±alpha/√(length · hidden) on a document's embeddings in training
};

// What is drawn anew in each step; 0: nothing is drawn.
struct StepSeeds {
  uint64_t dropout = 0, noise = 0;
};

// Weights of the batch's targets, from their log-probabilities: the gradient is that of Σ -weight · log p. With a score
// head: slopes of the target rows, from their scores; the gradient is that of Σ slope · score.
using WeighTargets = std::function<std::vector<float>(std::span<const float> outcomes)>;

// One thread.
class Decoder {
 public:
  // Reads the weights (under a decoder's names), and registers what `method` trains. LoRA parameters are still to be
  // filled (initialize_lora, or from a file). Throws base::Error INVALID_MODEL for missing or misshapen tensors.
  Decoder(const model::Architecture& architecture, const model::Weights& weights, const MethodSettings& method,
          const DecoderOptions& options);
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  Parameters& parameters() { return parameters_; }
  const Parameters& parameters() const { return parameters_; }
  const model::Architecture& architecture() const { return architecture_; }
  const std::vector<DecoderLayer>& layers() const { return layers_; }

  // A uniform in ±1/√in (Kaiming's with a = √5, as PEFT), B zero, DoRA's magnitudes the rows' norms: from the seed and
  // each layer's name alone.
  void initialize_lora(uint64_t seed);
  // DoRA's magnitudes become the norms of W + s·B·A.
  void initialize_magnitudes();

  // Virtual tokens as `prompt` says, from the seed and the parameters' names alone: normal numbers, or the embeddings
  // of `text` over and over or of drawn tokens; factors of tasks are normal with deviation 0.02. As PEFT.
  void initialize_prompt(const PromptSettings& prompt, const std::vector<int64_t>& text, const model::Weights& weights,
                         uint64_t seed);

  // The score head's weight: normal with deviation 0.02, from the seed alone, as transformers; or as given.
  void initialize_score(uint64_t seed);
  void set_score(const std::vector<float>& weight);
  std::optional<size_t> score_parameter() const {
    return score_head_ ? std::optional(score_head_->parameter()) : std::nullopt;
  }

  // Takes over the masters of another decoder of the same model and method.
  void copy_parameters(const Decoder& other);

  // One parameter's master.
  void set_master(size_t index, const at::Tensor& value);

  // To be called whenever the masters changed.
  void refresh();
  // Once no step follows: the memory that only steps need.
  void leave_scratch() {
    kept_.release();
    logits_scratch_.reset();
  }

  // Forward and backward: adds the gradient of scale · Σ -log p. Returns Σ -log p, natural logarithm.
  double train(const Batch& batch, double scale, StepSeeds seeds);
  // The same with weights that depend on the outcome.
  void train_weighted(const Batch& batch, const WeighTargets& weigh, StepSeeds seeds);

  // log p of each target, or with a score head the score of each target row; forward only.
  std::vector<float> outcomes(const Batch& batch);

  // How many tokens of its own stand before each document.
  int64_t virtual_token_count() const { return virtual_tokens_ ? virtual_tokens_->count() : 0; }

  // Logits [tokens, vocab] of one document, f32; of its last `rows` tokens. Of several tasks it belongs to the first.
  std::vector<float> logits(const std::vector<int64_t>& tokens, int64_t rows);

  // With a residence: takes part in a batch of the other ranks, with nothing of its own.
  void idle(bool trains);

 private:
  struct Forward;
  void read_embeddings(const model::Weights& weights);
  std::vector<DecoderLayer> make_layers(const model::Weights& weights, const MethodSettings& method);
  Norm make_norm(const model::Weights& weights, const std::string& name, int64_t width, bool trained);
  void train_batch(const Batch& batch, const WeighTargets* weigh, double scale, StepSeeds seeds, double* loss);
  RotaryTables rotary_tables(const Batch& batch, const model::Rope& rope) const;
  BatchContext context_of(const Batch& batch, uint64_t dropout_seed) const;
  at::Tensor embed(const Batch& batch, uint64_t noise_seed) const;
  at::Tensor run_layers(const Batch& batch, const BatchContext& context, uint64_t noise_seed,
                        std::vector<LayerMemory>* memories, std::vector<at::Tensor>* inputs);
  std::vector<at::Tensor> frozen_outside_layers() const;
  void refresh_outside_layers();
  void take_masters(const model::Weights& weights);
  // Around every use of a unit's weights.
  void enter(size_t unit, Pass pass);
  void leave(size_t unit, Pass pass);
  at::Tensor indices(const std::vector<int64_t>& values) const;
  at::Tensor read(const model::Weights& weights, const std::string& name) const;
  // The hidden states of the batch's target rows, normalized; x [tokens, hidden], selected and memory for backward.
  at::Tensor normed_targets(const Batch& batch, const at::Tensor& x, at::Tensor& selected, NormMemory& memory) const;
  // The gradient of the loss by `hidden`; adds the head's own. `loss` becomes Σ -log p where it is asked for.
  at::Tensor head_backward(const Batch& batch, const at::Tensor& hidden, const WeighTargets* weigh, double scale,
                           double* loss);
  bool has_output() const { return !tied_ && !score_head_; }
  const std::optional<size_t>& output_parameter() const { return tied_ ? embedding_parameter_ : output_parameter_; }
  // The output projection: the one that is kept, or `scratch`, which becomes the master's copy.
  const ProductWeight& output(ProductWeight& scratch) const;

  model::Architecture architecture_;
  DecoderOptions options_;
  Compute compute_;
  bool full_ = false, tied_ = false;
  std::optional<VirtualTokens> virtual_tokens_;
  std::optional<ScoreHead> score_head_;
  int64_t lowest_trained_ = 0;  // layers below it need no gradient
  Parameters parameters_;
  std::vector<DecoderLayer> layers_;
  ProductWeight embedding_, output_weight_;  // on a CPU not where they are trained: see AdaptedLinear
  at::Tensor positions_;                     // learned ones, in the compute type
  at::Tensor logits_scratch_;                // see output_loss
  Workspace kept_;                           // what layers keep for backward, on a CPU
  Norm final_norm_;
  std::optional<size_t> embedding_parameter_, position_parameter_, output_parameter_;
};

// How PEFT names the tensors of one adapted layer: base_model.model.<module>.lora_A.weight.
std::string lora_tensor_name(const std::string& module, char matrix);
// …lora_magnitude_vector.
std::string magnitude_name(const std::string& module);

}  // namespace slipway::train
