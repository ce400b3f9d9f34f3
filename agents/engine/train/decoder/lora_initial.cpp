// The parameters of an adapter before the first step: their names in PEFT, and their fresh values.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "agents/engine/model/prompt_adapter.h"
#include "agents/engine/model/weights.h"
#include "agents/engine/train/data/random.h"
#include "agents/engine/train/decoder/decoder.h"

namespace slipway::train {

namespace {

constexpr char kLoraA[] = ".lora_A.weight";

}  // namespace

std::string lora_tensor_name(const std::string& module, char matrix) {
  return "base_model.model." + module + ".lora_" + matrix + ".weight";
}

std::string magnitude_name(const std::string& module) {
  return "base_model.model." + module + ".lora_magnitude_vector";
}

void Decoder::initialize_lora(uint64_t seed) {
  for (size_t i = 0; i < parameters_.list().size(); ++i) {
    const Parameter& p = parameters_.list()[i];
    if (score_parameter() == i) continue;
    if (!p.name.ends_with(kLoraA)) {
      set_master(i, at::zeros(p.shape, at::kFloat));
      continue;
    }
    const float bound = 1.0F / std::sqrt(static_cast<float>(p.shape.back()));
    at::Tensor values = at::empty(p.shape, at::kFloat);
    float* data = values.data_ptr<float>();
    Random random(mix_seed(seed, p.name));
    for (int64_t k = 0; k < p.size; ++k) data[k] = (2.0F * random.uniform() - 1.0F) * bound;
    set_master(i, values);
  }
  initialize_magnitudes();
}

void Decoder::initialize_prompt(const PromptSettings& prompt, const std::vector<int64_t>& text,
                                const model::Weights& weights, uint64_t seed) {
  constexpr float kTaskDeviation = 0.02F;
  for (size_t i = 0; i < parameters_.list().size(); ++i) {
    const Parameter& p = parameters_.list()[i];
    const bool embeddings = p.name == model::kPromptEmbeddings;
    at::Tensor values = at::empty(p.shape, at::kFloat);
    float* const data = values.data_ptr<float>();
    Random random(mix_seed(seed, p.name));
    if (!embeddings || prompt.init == PromptInit::kRandom) {
      for (int64_t k = 0; k < p.size; ++k) data[k] = random.normal() * (embeddings ? 1.0F : kTaskDeviation);
    } else {
      const int64_t width = p.shape[1];
      for (int64_t row = 0; row < p.shape[0]; ++row) {
        const int64_t token = prompt.init == PromptInit::kText
                                  ? text[static_cast<size_t>(row) % text.size()]
                                  : static_cast<int64_t>(random.below(static_cast<uint64_t>(architecture_.vocab_size)));
        weights.read_rows_f32("model.embed_tokens.weight", token, {data + row * width, static_cast<size_t>(width)});
      }
      values.mul_(architecture_.embedding_scale);
    }
    set_master(i, values);
  }
  refresh();
}

void Decoder::initialize_score(uint64_t seed) {
  constexpr float kDeviation = 0.02F;
  std::vector<float> weight(static_cast<size_t>(architecture_.hidden_size));
  Random random(mix_seed(seed, "score.weight"));
  for (float& value : weight) value = random.normal() * kDeviation;
  set_score(weight);
}

void Decoder::set_score(const std::vector<float>& weight) {
  const at::Tensor values = at::empty({1, architecture_.hidden_size}, at::kFloat);
  std::copy(weight.begin(), weight.end(), values.data_ptr<float>());
  set_master(score_head_->parameter(), values);
}

void Decoder::initialize_magnitudes() {
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    enter(layer + 1, Pass::kForward);
    for (const AdaptedLinear* linear : layers_[layer].linears()) {
      for (size_t i = 0; i < linear->parts().size(); ++i) {
        const LinearPart& part = linear->parts()[i];
        if (part.magnitude) set_master(*part.magnitude, linear->row_norms(i, parameters_));
      }
    }
    leave(layer + 1, Pass::kForward);
  }
  refresh();
}

}  // namespace slipway::train
