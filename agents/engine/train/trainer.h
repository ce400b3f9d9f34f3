// A training job, held together: trainer_start.cpp makes everything ready that the first step needs, trainer.cpp runs
// the steps and publishes. Used by training.cpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>

#include "agents/engine/spec/engine_main.h"
#include "agents/engine/train/checkpoints/checkpoint.h"
#include "agents/engine/train/checkpoints/run_state.h"
#include "agents/engine/train/checkpoints/saver.h"
#include "agents/engine/train/decoder/decoder.h"
#include "agents/engine/train/optimizers/optimizer.h"
#include "agents/engine/train/parallel/rank_environment.h"
#include "agents/engine/train/parallel/ranks.h"
#include "agents/engine/train/prepare.h"
#include "agents/engine/train/reporter.h"
#include "agents/engine/train/samples.h"
#include "agents/engine/train/step.h"
#include "agents/engine/train/step_report.h"
#include "agents/engine/train/work_count.h"
#include "backend/base/error.h"

namespace slipway::train {

// One run of the engine: members in the order in which they are made ready. One thread. Throws base::Error.
class Trainer {
 public:
  explicit Trainer(spec::EngineContext& context);
  // Returns what run_training() does.
  int run();
  // Tells the other ranks why this one leaves.
  void fail(const base::Error& error);

 private:
  // trainer_start.cpp
  Warn warn();
  void load();
  void make_ready();
  bool score_references();
  void restore_checkpoint();

  bool has_rows();
  bool train_step();
  void check_finite(const StepResult& result, double gradient_norm) const;
  void report_step(const StepResult& result, double learning_rate, double gradient_norm);
  bool evaluate();
  void keep_best(double loss);
  void save();
  int stop();
  void finish();
  // A stop of this process alone: where there are several ranks they leave together, between two steps.
  bool stopping() const { return ranks_.size() == 1 && context_.stop.load(); }
  bool all_stop() { return ranks_.any(context_.stop.load()); }
  // All ranks see it before the same step.
  bool asked_to_finish();
  bool finished() const { return state_.step == job_.total_steps || state_.stopped_early; }
  int64_t peak_memory() const;

  spec::EngineContext& context_;
  Reporter reporter_;
  Job job_;
  std::optional<RankEnvironment> environment_;
  Ranks ranks_;
  Saver saver_;
  std::optional<LoadedCheckpoint> checkpoint_;  // the one to go on from, until it is read
  RunIdentity identity_;
  Machine machine_;
  std::unique_ptr<Decoder> decoder_;
  std::unique_ptr<Optimizer> optimizer_;
  std::optional<StepRunner> runner_;
  std::optional<Samples> samples_;
  ReferenceScores reference_, validation_reference_;
  RunState state_;
  std::unique_ptr<EarlyRows> early_;  // while not all of the training data is tokenised
  Pace pace_;
  std::optional<WorkCount> work_count_;
  double matrix_rate_ = 0;  // of all ranks
};

}  // namespace slipway::train
