// From tokenised documents to the rows, micro-batches and steps of a run. Pure: the same input gives the same plan.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "agents/engine/train/data/documents.h"

namespace slipway::train {

// A row is the documents that share one of the batch's places.
using Row = std::vector<int64_t>;

// Rows of the documents in `chosen`, which may name one several times. Without packing one row per document. With it,
// rows of at most `max_length` tokens by best-fit decreasing (as TRL's "bfd"); documents stay whole, and keep their own
// attention, positions and `virtual_tokens`, which count on top of their length; a row has room for max_length and
// those of one document.
std::vector<Row> make_rows(const Documents& documents, const std::vector<int64_t>& chosen, bool packing,
                           int64_t max_length, int64_t virtual_tokens = 0);

// What the decoder computes at once: documents laid end to end, without padding.
struct Batch {
  std::vector<int64_t> tokens, positions;
  std::vector<int64_t> document_starts;   // and the end
  std::vector<int64_t> target_rows;       // places whose next token is trained …
  std::vector<int64_t> targets;           // … and that token
  std::vector<int64_t> target_documents;  // beside targets: which of the batch's documents it belongs to
  std::vector<uint8_t> target_trained;    // beside targets: 0 for those of `every_token` that are not trained
  int64_t virtual_tokens = 0;             // so many begin each document; in `tokens` they are 0
  std::vector<int32_t> tasks;             // of each document
};

struct BatchOptions {
  std::vector<int64_t> every_token;  // documents' indices whose tokens are all targets, trained or not
  int64_t virtual_tokens = 0;        // before each document
};
Batch make_batch(const Documents& documents, std::span<const Row> rows, const BatchOptions& options = {});

// The same for a reward model: of each document the one target row is its last token that is not `padding_token` (the
// first token where there is none), where transformers' sequence classifiers read their score.
Batch make_scored_batch(const Documents& documents, std::span<const Row> rows, int32_t padding_token);

// Which rows belong to which step. Stateless but for the blocks it knows, so a resumed run needs only the step's
// number. The first epoch takes block after block, each shuffled; the others shuffle all rows.
class StepPlan {
 public:
  StepPlan(int64_t batch_size, int64_t accumulation_steps, bool shuffle, uint64_t seed);

  // So many further rows; and that there are no more.
  void add_block(int64_t rows);
  void complete();

  bool is_complete() const { return complete_; }
  // Whether the step's rows are known.
  bool knows(int64_t step) const { return complete_ || (step + 1) * rows_per_step_ <= row_count_; }
  int64_t steps_per_epoch() const { return (row_count_ + rows_per_step_ - 1) / rows_per_step_; }  // when complete
  // Rows of `step` (from 0), as micro-batches of up to batch_size; the last step of an epoch may have fewer.
  std::vector<std::vector<int64_t>> micro_batches(int64_t step);

 private:
  void make_order(int64_t epoch);

  int64_t batch_size_, rows_per_step_;
  bool shuffle_;
  uint64_t seed_;
  int64_t row_count_ = 0;
  bool complete_ = false;
  std::vector<int64_t> blocks_;  // where each begins
  int64_t epoch_ = -1;           // whose order is held
  std::vector<int64_t> order_;
};

}  // namespace slipway::train
