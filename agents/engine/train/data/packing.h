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
// attention and positions.
std::vector<Row> make_rows(const Documents& documents, const std::vector<int64_t>& chosen, bool packing,
                           int64_t max_length);

// What the decoder computes at once: documents laid end to end, without padding.
struct Batch {
  std::vector<int64_t> tokens, positions;
  std::vector<int64_t> document_starts;   // and the end
  std::vector<int64_t> target_rows;       // places whose next token is trained …
  std::vector<int64_t> targets;           // … and that token
  std::vector<int64_t> target_documents;  // beside targets: which of the batch's documents it belongs to
  std::vector<uint8_t> target_trained;    // beside targets: 0 for those of `every_token` that are not trained
};

// every_token: documents' indices whose tokens are all targets, trained or not.
Batch make_batch(const Documents& documents, std::span<const Row> rows, const std::vector<int64_t>& every_token = {});

// Which rows belong to which step. Stateless, so a resumed run needs only the step's number.
class StepPlan {
 public:
  StepPlan(int64_t row_count, int64_t batch_size, int64_t accumulation_steps, bool shuffle, uint64_t seed);

  int64_t steps_per_epoch() const { return steps_per_epoch_; }
  // Rows of `step` (from 0), as micro-batches of up to batch_size; the last step of an epoch may have fewer.
  std::vector<std::vector<int64_t>> micro_batches(int64_t step);

 private:
  int64_t row_count_, batch_size_, rows_per_step_, steps_per_epoch_;
  bool shuffle_;
  uint64_t seed_;
  int64_t epoch_ = -1;  // whose order is held
  std::vector<int64_t> order_;
};

}  // namespace slipway::train
