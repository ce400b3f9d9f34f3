// Checkpoints of a training run: WORKDIR/checkpoints/step-N, whole or not there. Knows files and hashes, not tensors'
// meaning. Used by run_state.cpp and trainer.cpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "agents/engine/model/weights.h"
#include "agents/engine/train/checkpoints/hashed_file.h"

namespace slipway::train {

// One tensor to be saved; f32 or uint8.
struct SavedTensor {
  std::string name;
  std::vector<int64_t> shape;
  model::DType dtype = model::DType::kF32;
};

struct CheckpointContent {
  int64_t step = 0;
  std::string parameter_file;  // adapter_model.safetensors or model.safetensors
  std::vector<SavedTensor> parameters;
  std::vector<SavedTensor> optimizer;
  nlohmann::ordered_json state;  // trainer_state.json
};

// A checkpoint whose every byte has been compared with its manifest.
struct LoadedCheckpoint {
  int64_t step = 0;
  std::string sha256;  // of its manifest, as in the checkpoint event
  std::filesystem::path folder;
  nlohmann::json state;
  std::unique_ptr<const model::Weights> parameters, optimizer;
};

class CheckpointStore {
 public:
  // `warn(message)` is told of every damaged checkpoint that is passed over. keep_last 0 keeps all.
  CheckpointStore(std::filesystem::path folder, int64_t keep_last, std::function<void(const std::string&)> warn);

  // Writes step-N: temporary name, fsync, manifest.json with every file's SHA-256, rename, then COMMIT. Then removes
  // the oldest beyond the limit. `next` gives the bytes of the parameters, then of the optimizer's tensors, one after
  // the other. Returns the manifest's SHA-256. When it throws (DISK_FULL, IO) nothing half-written is left and the
  // earlier checkpoints are as they were.
  std::string save(const CheckpointContent& content, const NextBytes& next);

  // The newest whole one; damaged ones are passed over with a warning.
  std::optional<LoadedCheckpoint> load_latest(const std::string& parameter_file) const;

  // Steps of all that have a COMMIT, ascending; not verified.
  std::vector<int64_t> committed_steps() const;

  std::filesystem::path path_of(int64_t step) const;

 private:
  LoadedCheckpoint load(int64_t step, const std::string& parameter_file) const;
  void remove_oldest(int64_t newest) const;
  std::vector<int64_t> steps() const;

  std::filesystem::path folder_;
  int64_t keep_last_;
  std::function<void(const std::string&)> warn_;
};

}  // namespace slipway::train
