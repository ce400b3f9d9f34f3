// The generic decoder that is trained: reads a model::Architecture, runs on CPU or CUDA from the same source, and
// computes its gradients by hand. Used by trainer.cpp and export.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agents/engine/model/architecture.h"
#include "agents/engine/train/decoder_layer.h"
#include "agents/engine/train/packing.h"
#include "agents/engine/train/parameters.h"
#include "agents/engine/train/settings.h"

namespace slipway::model {
class Weights;
}

namespace slipway::train {

struct DecoderOptions {
  at::Device device = at::kCPU;
  at::ScalarType compute_type = at::kFloat;  // of weights, activations and products; masters and norms are f32
  bool gradient_checkpointing = false;
  bool trainable = true;  // false: only evaluate() and logits(), at a quarter of the parameters' memory
};

struct LossSum {
  double loss = 0;     // sum of -log p over the trained tokens, natural logarithm
  int64_t tokens = 0;  // how many those are
};

// One thread.
class Decoder {
 public:
  // Reads the weights, and registers what `method` trains. LoRA parameters are still to be filled (initialize_lora, or
  // from a file). Throws base::Error INVALID_MODEL for missing or misshapen tensors.
  Decoder(const model::Architecture& architecture, const model::Weights& weights, const MethodSettings& method,
          const DecoderOptions& options);

  Parameters& parameters() { return parameters_; }
  const Parameters& parameters() const { return parameters_; }
  const model::Architecture& architecture() const { return architecture_; }

  // A uniform in ±1/√in (Kaiming's with a = √5, as PEFT), B zero: from the seed and each layer's name alone.
  void initialize_lora(uint64_t seed);

  // Takes over the masters of another decoder of the same model and method.
  void copy_parameters(const Decoder& other);

  // To be called whenever the masters changed.
  void refresh();

  // Forward and backward: adds the gradient of scale · (sum of losses). dropout_seed 0: no dropout.
  LossSum train(const Batch& batch, double scale, uint64_t dropout_seed);

  // Forward only.
  LossSum evaluate(const Batch& batch);

  // Logits [tokens, vocab] of one document, f32.
  std::vector<float> logits(const std::vector<int64_t>& tokens);

 private:
  std::vector<DecoderLayer> make_layers(const model::Weights& weights, const MethodSettings& method);
  BatchContext context_of(const Batch& batch, uint64_t dropout_seed) const;
  at::Tensor embed(const at::Tensor& tokens) const;
  at::Tensor run_layers(const Batch& batch, const BatchContext& context, std::vector<LayerMemory>* memories,
                        std::vector<at::Tensor>* inputs) const;
  at::Tensor indices(const std::vector<int64_t>& values) const;
  at::Tensor read(const model::Weights& weights, const std::string& name, const std::vector<int64_t>& shape) const;

  model::Architecture architecture_;
  DecoderOptions options_;
  bool full_ = false;
  Parameters parameters_;
  std::vector<DecoderLayer> layers_;
  at::Tensor embedding_, output_weight_, final_norm_;  // compute type, compute type, f32
  std::optional<size_t> embedding_parameter_, output_parameter_, final_norm_parameter_;
  std::vector<float> inverse_frequencies_;
};

// How PEFT names the tensors of one adapted layer: base_model.model.<module>.lora_A.weight.
std::string lora_tensor_name(const std::string& module, char matrix);

}  // namespace slipway::train
