// What of a step each rank computes. Pure: every rank knows what all of them do. Used by step.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace slipway::train {

// Rows of one micro-batch, which are computed one after the other in pieces that fit the machine.
struct WorkShare {
  size_t micro_batch = 0;
  size_t first_piece = 0;  // what the pieces are counted from, for their random numbers
  std::vector<int64_t> rows;
};

// Whole micro-batches in turn; where there are fewer than ranks, and they may be divided, parts of them.
std::vector<WorkShare> work_of(const std::vector<std::vector<int64_t>>& micro_batches, int64_t rank, int64_t ranks,
                               bool divisible);

}  // namespace slipway::train
