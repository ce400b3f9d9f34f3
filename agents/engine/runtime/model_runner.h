// Runs one step's work through the model and chooses the next tokens. Called by the engine's thread alone.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "agents/engine/kernels/kernels.h"
#include "agents/engine/runtime/background.h"
#include "agents/engine/runtime/decoder.h"
#include "agents/engine/runtime/kv_cache.h"
#include "agents/engine/runtime/scheduler.h"
#include "agents/engine/runtime/thread_pool.h"

namespace slipway::runtime {

// What came of one sequence's work.
struct StepResult {
  Sequence* sequence = nullptr;
  int64_t computed = 0;  // tokens, without guesses
  // The next token, and one for each guess, to be used up to the first that its guess does not match. Empty while the
  // prompt is not complete.
  std::vector<GeneratedToken> tokens;
  std::string failure;
};

class ModelRunner {
 public:
  ModelRunner(const model::Architecture& architecture, Decoder& decoder, const KvCache& cache, ThreadPool& pool,
              const kernels::Table& table)
      : architecture_(architecture), decoder_(decoder), cache_(cache), pool_(pool), table_(table) {}

  // One result for each part of the plan; they stay until the next run.
  std::span<StepResult> run(const std::vector<Work>& plan);

 private:
  // One row of the batch whose logits somebody wants.
  struct Wanted {
    size_t result;     // index of its sequence's result
    int64_t row;       // of the batch
    int64_t position;  // within the sequence
    int64_t guess;     // which of result.tokens the row gives; -1: the sequence does not generate from it
  };

  void assemble(const std::vector<Work>& plan);
  void start_masks();
  void finish_masks();
  void use_logits(size_t begin, size_t end);
  void use_row(const Wanted& want, std::span<float> logits, std::string& failure);
  void use_states();

  const model::Architecture& architecture_;
  Decoder& decoder_;
  const KvCache& cache_;
  ThreadPool& pool_;
  const kernels::Table& table_;
  Background mask_thread_;  // computes masks while the model runs

  // Of the step under way.
  std::vector<StepResult> results_;  // as many as the largest plan so far
  std::vector<int32_t> tokens_;
  std::vector<Segment> segments_;
  std::vector<Wanted> wanted_;
  std::vector<std::pair<size_t, int64_t>> states_;  // result, row
  std::vector<size_t> masked_;                      // results whose sequences have a constraint and choose a token
  std::vector<float> logits_;
  // Of the rows whose logits are in use.
  std::vector<int64_t> rows_;
  std::vector<std::string> failures_;
};

}  // namespace slipway::runtime
