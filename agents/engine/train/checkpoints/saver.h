// The checkpoints of a run as it sees them: the one to go on from, and new ones, written beside the training and told
// of when they are whole. Used by trainer.cpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "agents/engine/train/checkpoints/checkpoint.h"
#include "agents/engine/train/checkpoints/run_state.h"
#include "agents/engine/train/reporter.h"

namespace slipway::train {

// One thread. Errors name the last good checkpoint.
class Saver {
 public:
  // writes: false on ranks that only take part in the snapshots.
  Saver(const std::filesystem::path& folder, int64_t keep_last, Reporter& reporter, bool writes);

  // The newest whole one.
  std::optional<LoadedCheckpoint> load_latest(const std::string& parameter_file) const;
  // The run stands where this checkpoint was taken. A crash may have come before its event, so that it is told again.
  void resumed(int64_t step, const std::string& sha256);

  // Begins to write what `take` gives, unless `step` is saved or being saved; the one before is waited for first.
  void save(int64_t step, const std::function<Snapshot()>& take);
  // Masters and the optimizer's state are about to change.
  void before_change();
  // Tells of the one under way, when it is whole (or, with `wait`, once it is).
  void collect(bool wait);

  // "; the last good checkpoint is …", for errors.
  std::string last_good() const;

 private:
  Reporter& reporter_;
  std::optional<CheckpointStore> store_;
  std::optional<CheckpointWriter> writer_;
  int64_t step_ = 0;  // saved, or being saved
};

}  // namespace slipway::train
