// Trained rows before each document (prompt tuning, Lester et al. 2021), shared by all documents or, by a product of
// low rank, of each task its own (multitask prompt tuning, Wang et al. 2023), as PEFT computes them. Used by
// decoder.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "agents/engine/train/data/packing.h"
#include "agents/engine/train/decoder/parameters.h"
#include "agents/engine/train/settings.h"

namespace slipway::train {

// One thread. Its parameters belong to the unit that is open when it is made.
class VirtualTokens {
 public:
  VirtualTokens(const PromptSettings& settings, int64_t width, Parameters& parameters);

  int64_t count() const { return count_; }

  // Overwrites the rows of x [n, width] f32 that are virtual tokens of `batch`.
  void put(const Parameters& parameters, const Batch& batch, at::Tensor x) const;
  // Adds their gradients, from dx, that of x.
  void backward(const Batch& batch, const at::Tensor& dx, Parameters& parameters) const;

 private:
  struct Task {
    int64_t id = 0;
    std::vector<int64_t> starts;  // of its documents, in the batch
  };
  std::vector<Task> tasks_of(const Batch& batch) const;
  // What the embeddings are multiplied by: [count, width].
  at::Tensor factors(const Parameters& parameters, int64_t task) const;

  int64_t count_;
  bool multitask_;
  size_t embeddings_ = 0, columns_ = 0, rows_ = 0;  // indices into Parameters
};

}  // namespace slipway::train
