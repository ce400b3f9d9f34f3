// What a checkpoint holds of a run: masters, the optimizer's state, and the counts; written by a thread of its own
// beside the training, and read back. Used by trainer.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <cstdint>
#include <future>
#include <limits>
#include <memory>
#include <optional>
#include <string>

#include "agents/engine/train/checkpoints/checkpoint.h"
#include "agents/engine/train/checkpoints/tensor_stream.h"
#include "agents/engine/train/decoder/decoder.h"
#include "agents/engine/train/optimizers/optimizer.h"
#include "agents/engine/train/parallel/ranks.h"

namespace slipway::train {

struct RunState {
  int64_t step = 0;  // steps done
  int64_t tokens = 0, trained_tokens = 0;
  int64_t interval_steps = 0;  // since the last metric
  double interval_loss = 0;
  double best_loss = std::numeric_limits<double>::infinity();  // of evaluations
  int64_t evaluations_since_best = 0;
  int64_t evaluated_step = -1;  // the last one that was evaluated
  bool stopped_early = false;
  // The masters of best_loss, of this rank, when they will be published; else undefined. Replaced, never changed.
  at::Tensor best_values;
};

// What does not change during a run, and decides whether a checkpoint fits it.
struct RunIdentity {
  std::string parameter_file, precision, tokenizer_fingerprint, data_fingerprint, spec_fingerprint;
  uint64_t seed = 0;
  int64_t steps_per_epoch = 1, total_steps = 0;
};

// Everything that a checkpoint holds, in main memory.
struct Snapshot {
  struct Part {
    at::Tensor values;
    bool changes = false;  // with the next step: it is the training's own
  };
  CheckpointContent content;
  std::vector<Part> parts;  // the parameters' values, then the optimizer's tensors
};

// All ranks call it; the first has the result, which does not depend on their number.
Snapshot take_snapshot(const RunState& state, const RunIdentity& identity, Ranks& ranks, Decoder& decoder,
                       Optimizer& optimizer);

// Fills masters, optimizer and state from `checkpoint`, which the first rank has. Throws base::Error INVALID_MODEL or
// INVALID_DATA when it is of another model or other data.
void restore(const LoadedCheckpoint* checkpoint, const RunIdentity& identity, Ranks& ranks, Decoder& decoder,
             Optimizer& optimizer, RunState& state);

// Writes one snapshot at a time, beside the training. One thread calls it.
class CheckpointWriter {
 public:
  explicit CheckpointWriter(CheckpointStore& store) : store_(store) {}
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  // What is written within it need not be copied: new memory takes about as long.
  static constexpr std::chrono::seconds kPatience{1};

  struct Written {
    int64_t step = 0;
    std::string sha256;
  };
  // Begins to write; none may be under way.
  void start(Snapshot snapshot);
  // The snapshot's tensors are about to change: what is not written of them yet is waited for, kPatience at most, and
  // then copied.
  void before_change();
  // The one under way, when it is done (or, with `wait`, once it is). Throws what went wrong in it.
  std::optional<Written> collect(bool wait);

 private:
  bool is_done() const { return writing_.wait_for(std::chrono::seconds(0)) == std::future_status::ready; }

  CheckpointStore& store_;
  std::shared_ptr<TensorStream> stream_;  // while one is under way
  std::future<Written> writing_;
};

}  // namespace slipway::train
