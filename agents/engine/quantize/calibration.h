// Runs calibration rows through a decoder layer by layer, rounding each layer to four bits by what its products read,
// and feeding the next one what the rounded layer gives. Used by quantize.cpp.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

#include "agents/engine/model/architecture.h"
#include "agents/engine/runtime/lora.h"
#include "agents/engine/runtime/matrix.h"
#include "agents/engine/runtime/thread_pool.h"

namespace slipway::quantize {

// The layer's matrices by module, kInt4; empty where the architecture has none.
using RoundedLayer = std::array<runtime::Matrix, runtime::kModules>;

struct CalibrationOptions {
  const std::vector<std::vector<int32_t>>* rows = nullptr;  // tokens
  std::function<void(int64_t layers)> on_layer;             // so many are done
  const std::atomic<bool>* stop = nullptr;
};

// All layers; fewer when `stop` became true. Throws base::Error.
std::vector<RoundedLayer> calibrate(const std::filesystem::path& model, const model::Architecture& architecture,
                                    const CalibrationOptions& options, runtime::ThreadPool& pool);

}  // namespace slipway::quantize
