// A model as one .slipway file, for slipway-serve and slipway-eval. Called by main.cpp.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>

#include "agents/engine/runtime/engine.h"

namespace slipway::quantize {

struct Settings {
  std::filesystem::path model;   // a Hugging Face folder or a .gguf
  std::filesystem::path output;  // *.slipway
  runtime::WeightType type = runtime::WeightType::kInt8;
  std::filesystem::path calibration;  // JSONL, for kInt4; empty: every weight is rounded by itself
  int64_t calibration_rows = 128;     // at most
  int64_t calibration_length = 512;   // tokens of a row at most
  int threads = 0;                    // 0: as many as the machine has cores
};

struct Report {
  int64_t parameters = 0;
  uint64_t bytes = 0;              // of the file
  int64_t calibration_tokens = 0;  // 0 without calibration
};

// Writes the file in one step. on_progress(done, total) counts layers, on the calling thread. Returns false, and leaves
// nothing behind, when `stop` became true. Throws base::Error.
bool quantize(const Settings& settings, const std::function<void(int64_t done, int64_t total)>& on_progress,
              const std::atomic<bool>& stop, Report& report);

// What came of it: file, dtype, method, calibration_tokens, parameters, bytes.
nlohmann::ordered_json to_json(const Settings& settings, const Report& report);

}  // namespace slipway::quantize
