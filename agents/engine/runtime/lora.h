// A LoRA or DoRA adapter as the decoder applies it: its matrices by layer and module, checked against the base model.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <vector>

#include "agents/engine/model/architecture.h"

namespace slipway::runtime {

enum class Module { kQuery, kKey, kValue, kOutput, kGate, kUp, kDown };
inline constexpr size_t kModules = 7;

struct LoraLinear {
  int64_t rank = 0;      // 0: this module is not adapted
  std::vector<float> a;  // [rank, in]
  std::vector<float> b;  // [out, rank], already scaled
  // DoRA (arXiv 2402.09353): magnitude / ‖W + scaling · B A‖ of each output, by which the base model's product is
  // multiplied, as b already is. Empty: 1.
  std::vector<float> gain;
};

struct Lora {
  std::vector<std::array<LoraLinear, kModules>> layers;
};

// Reads a PEFT folder; for DoRA also the base model's weights, from where `architecture` was loaded. Throws
// base::Error: what load_adapter throws, INVALID_MODEL for a module or shape that the base model does not have.
Lora load_lora(const std::filesystem::path& folder, const model::Architecture& architecture);

}  // namespace slipway::runtime
