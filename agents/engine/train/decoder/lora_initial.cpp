// The LoRA parameters of a decoder before the first step: their names in PEFT, and their fresh values.
#include <ATen/ATen.h>

#include <cmath>

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

void Decoder::initialize_magnitudes() {
  for (const DecoderLayer& layer : layers_) {
    for (const AdaptedLinear* linear : layer.linears()) {
      for (size_t i = 0; i < linear->parts().size(); ++i) {
        const LinearPart& part = linear->parts()[i];
        if (part.magnitude) set_master(*part.magnitude, linear->row_norms(i, parameters_));
      }
    }
  }
  refresh();
}

}  // namespace slipway::train
