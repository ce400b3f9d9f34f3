// A linear layer of the decoder with its LoRA deltas: forward and backward by hand. Several layers with one input (q, k
// and v; gate and up) are one object. Used by decoder_layer.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "agents/engine/train/decoder/parameters.h"
#include "agents/engine/train/decoder/products.h"
#include "agents/engine/train/decoder/quantized_weight.h"

namespace slipway::train {

// One of the stacked layers.
struct LinearPart {
  std::string module;  // model.layers.0.self_attn.q_proj
  int64_t out_features = 0;
  bool adapted = false;
  size_t lora_a = 0, lora_b = 0;                   // indices into Parameters, when adapted
  std::optional<size_t> magnitude = std::nullopt;  // DoRA's
  double scaling = 0;                              // of B·A, when adapted
};

struct LoraOptions {
  int64_t rank = 0;
  double dropout = 0;
};

class AdaptedLinear {
 public:
  // When the weight is a parameter: the parts' weights lie one after the other from that index on, and so do the
  // biases.
  struct Trained {
    size_t first_weight = 0;
    std::optional<size_t> first_bias;
  };
  // weight [sum of out_features, in_features] in the compute type, of which only the shape counts when it is trained;
  // bias of f32 or undefined.
  AdaptedLinear(const Compute& compute, std::vector<LinearPart> parts, at::Tensor weight, at::Tensor bias,
                LoraOptions lora, std::optional<Trained> trained);

  // Keeps the weight, which must be f32 on the CPU and frozen, in fewer bits: each part as a weight of its own.
  void quantize(Quantization quantization, bool double_quantization);

  // Brings the compute copies up to date with the masters: at the start and after each optimizer step.
  void refresh(const Parameters& parameters);

  // x [n, in] in the compute type -> [n, out], in `y` where that is defined. `hidden` keeps x·Aᵀ for backward.
  // dropout_seed 0: no dropout.
  at::Tensor forward(const at::Tensor& x, at::Tensor& hidden, uint64_t dropout_seed, at::Tensor y = {}) const;
  // residual [n, out] f32 plus the same, in `sum`.
  void add_forward(const at::Tensor& x, at::Tensor& hidden, uint64_t dropout_seed, const at::Tensor& residual,
                   at::Tensor sum) const;

  // dy [n, out] -> dx [n, in], or an undefined tensor when need_input_gradient is false. Adds to the gradients.
  at::Tensor backward(const at::Tensor& x, const at::Tensor& hidden, const at::Tensor& dy, uint64_t dropout_seed,
                      bool need_input_gradient, Parameters& parameters) const;

  // The frozen weight, quantised as bytes, undefined when it is trained; and another place where it is now.
  at::Tensor frozen_rows() const;
  void set_frozen_rows(at::Tensor rows);
  // Leaves all weights until set_frozen_rows() and refresh().
  void release();

  // Whether anything in it is trained.
  bool is_trained() const { return trained_.has_value() || !adapted_.empty(); }

  const std::vector<LinearPart>& parts() const { return parts_; }

  // DoRA: magnitude over the norm of each row of W + s·B·A, [out] f32, for exports; undefined for other parts.
  at::Tensor row_scale(size_t part) const { return row_scales_[part]; }
  // The norms of the rows of W + s·B·A, which DoRA's magnitudes are when they are fresh.
  at::Tensor row_norms(size_t part, const Parameters& parameters) const;

 private:
  bool drops(uint64_t dropout_seed) const { return lora_.dropout > 0 && dropout_seed != 0; }
  at::Tensor mask_of(const at::Tensor& x, uint64_t dropout_seed, size_t index) const;
  at::Tensor a_of(size_t index) const;  // rows of the adapted part `index`: [rank, in]
  at::Tensor compress(const at::Tensor& x, uint64_t dropout_seed, std::vector<ForwardPart>& products) const;
  at::Tensor hidden_of(const at::Tensor& hidden, size_t index) const {
    return hidden.narrow(1, static_cast<int64_t>(index) * lora_.rank, lora_.rank);
  }
  // x·Wᵀ + hidden·(s·B)ᵀ of one part, which is what DoRA scales; the others have their bias.
  ForwardPart forward_part(const ProductWeight& weight, const at::Tensor& hidden, size_t part, at::Tensor y) const;
  at::Tensor bias_of(size_t part) const;
  // The whole weight in the compute type, and one part's rows of it.
  at::Tensor rows() const;
  at::Tensor part_of(const at::Tensor& rows, size_t part) const {
    return rows.narrow(0, offsets_[part], parts_[part].out_features);
  }
  // Each part's weight: those kept, or `scratch` filled with what the quantized ones or the master hold.
  const std::vector<ProductWeight>& weights(std::vector<ProductWeight>& scratch) const;
  void assign(at::Tensor rows);
  at::Tensor backward_dora(const at::Tensor& x, const at::Tensor& hidden, const at::Tensor& dy,
                           Parameters& parameters) const;
  // The gradients of B; that of hidden [n, adapted · rank] as products that are added to `gradients`.
  void backward_b(const at::Tensor& hidden, const at::Tensor& dy, const at::Tensor& dhidden, Parameters& parameters,
                  std::vector<GradientPart>& gradients) const;

  Compute compute_;
  std::vector<LinearPart> parts_;
  int64_t out_features_ = 0;
  int64_t in_features_ = 0;
  at::Tensor bias_;
  // A trained weight's master on a CPU, of which every product makes the copy that it needs: the caches hold it, and
  // two copies of the whole model for forward and backward are more than it costs.
  at::Tensor master_;
  ProductWeight whole_;                     // all parts' rows; undefined when they are quantized, or there is a master
  std::vector<ProductWeight> weights_;      // of each part, views of them
  std::vector<QuantizedWeight> quantized_;  // of each part
  LoraOptions lora_;
  std::optional<Trained> trained_;
  bool dora_ = false;
  std::vector<size_t> adapted_;                // indices of adapted parts
  std::vector<std::optional<size_t>> places_;  // of each part its place among the adapted ones
  std::vector<int64_t> offsets_;               // first output of each part
  ProductWeight a_;                            // all adapted parts' A stacked: [adapted · rank, in]
  std::vector<ProductWeight> b_;               // scaled, of each adapted part: [out, rank]
  std::vector<at::Tensor> row_scales_, row_norms_;
};

}  // namespace slipway::train
