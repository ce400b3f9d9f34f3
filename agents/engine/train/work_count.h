// The arithmetic that training needs, by the model's shape and the method: what the metric mfu counts. Used by
// trainer.cpp.
#pragma once

#include <cstdint>
#include <vector>

#include "agents/engine/model/architecture.h"
#include "agents/engine/train/row_set.h"
#include "agents/engine/train/settings.h"

namespace slipway::train {

class WorkCount {
 public:
  WorkCount(const model::Architecture& architecture, const MethodSettings& method,
            ObjectiveType objective = ObjectiveType::kSupervised);

  // Floating-point operations of one document's forward and backward pass, of whose tokens `targets` are predicted with
  // a loss. Each weight of a product counts 2 per token forward, 2 for the gradient of the input where a layer below is
  // trained, and 2 for its own gradient where it is trained itself; each pair of positions that attention compares
  // counts 4 per element of a query forward, and 8 backward. What is computed again to save memory counts once, as
  // usual for MFU (Chowdhery et al. 2022, appendix B).
  double document(int64_t tokens, int64_t targets) const;
  // The same for its forward pass alone.
  double forward(int64_t tokens, int64_t targets) const;
  // All that a step computes for some of a set's rows: with ORPO each token of the chosen answers is predicted, with
  // KTO the mismatched answers are scored. A reference's scores belong to no step: they are computed once, before the
  // first.
  double rows(const RowSet& set, const std::vector<int64_t>& chosen) const;

 private:
  struct Attention {
    int64_t window = 0;  // 0: none
    double per_pair = 0, forward_per_pair = 0;
  };

  ObjectiveType objective_;
  int64_t virtual_tokens_ = 0;  // before each document
  double per_token_ = 0, per_target_ = 0;
  double forward_per_token_ = 0, forward_per_target_ = 0;
  std::vector<Attention> attention_;  // of each layer
};

}  // namespace slipway::train
