// The gradient of one optimizer step: its micro-batches, in pieces that fit the machine, under the run's objective. And
// the same objective without gradients, for evaluations. Used by trainer.cpp and plan.cpp.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "agents/engine/train/decoder/decoder.h"
#include "agents/engine/train/objective.h"
#include "agents/engine/train/parallel/ranks.h"
#include "agents/engine/train/row_set.h"
#include "agents/engine/train/settings.h"
#include "agents/engine/train/work_share.h"

namespace slipway::train {

// Σ log p under the reference of every document that preferences use, by document; empty without a reference.
using ReferenceScores = std::vector<double>;

struct StepResult {
  double loss = 0;  // mean: over trained tokens, or over pairs (KTO: answers)
  int64_t tokens = 0, trained_tokens = 0;
  std::map<std::string, double> further;  // metrics of the objective, as TRL names them
};

// One thread.
class StepRunner {
 public:
  // `pause` is called between pieces; it returns false when a stop has come.
  StepRunner(Decoder& decoder, Ranks& ranks, const TrainSettings& settings, bool on_cpu, std::function<bool()> pause)
      : decoder_(decoder), ranks_(ranks), settings_(settings), on_cpu_(on_cpu), pause_(std::move(pause)) {}

  // Adds the gradient of the step's mean loss over `micro_batches` (rows of `set`) to the parameters' gradients, which
  // the caller has zeroed. Each rank computes its share; results and gradients are those of all. False when a stop came
  // first.
  bool add_gradient(const RowSet& set, const ReferenceScores& reference,
                    const std::vector<std::vector<int64_t>>& micro_batches, int64_t step, StepResult& result);

  // The loss of a whole set. False when a stop came first.
  bool evaluate(const RowSet& set, const ReferenceScores& reference, StepResult& result);

  // The reference's scores by the decoder as it is now. False when a stop came first.
  bool score_reference(const Dataset& data, ReferenceScores& scores);

 private:
  using Pieces = std::vector<std::vector<int64_t>>;
  struct Totals;
  Pieces pieces_of(const RowSet& set, const std::vector<int64_t>& rows) const;
  // This rank's share of `micro_batches`.
  std::vector<WorkShare> work(const Pieces& micro_batches) const;
  // Where ranks move together: batches without content, as many as this one has fewer than another.
  void keep_up(const RowSet& set, const Pieces& micro_batches, bool train);
  std::vector<WorkShare> work(const Pieces& micro_batches, int64_t rank) const;
  // A rank's batches of one kind.
  using CountBatches = std::function<int64_t(const WorkShare&)>;
  void keep_up(const Pieces& micro_batches, bool train, const CountBatches& count);
  StepSeeds seeds(int64_t step, size_t micro_batch, size_t piece) const;
  bool supervised(const RowSet& set, const Pieces& micro_batches, int64_t step, bool train, StepResult& result);
  bool preferences(const RowSet& set, const ReferenceScores& reference, const Pieces& micro_batches, int64_t step,
                   bool train, StepResult& result);
  bool rewards(const RowSet& set, const Pieces& micro_batches, int64_t step, bool train, StepResult& result);
  // Whichever the run's objective asks for.
  bool objective(const RowSet& set, const ReferenceScores& reference, const Pieces& micro_batches, int64_t step,
                 bool train, StepResult& result);
  // KTO's mismatched answers to the documents of some rows that have a target.
  std::vector<Row> mismatched(const RowSet& set, const std::vector<int64_t>& rows) const;
  bool divergence(const RowSet& set, const ReferenceScores& reference, const std::vector<int64_t>& rows, double& kl);
  // Of each share of this rank; empty where the objective is another.
  bool baselines(const RowSet& set, const ReferenceScores& reference, const Pieces& micro_batches,
                 std::vector<double>& kls);

  Decoder& decoder_;
  Ranks& ranks_;
  const TrainSettings& settings_;
  bool on_cpu_;
  std::function<bool()> pause_;
};

}  // namespace slipway::train
