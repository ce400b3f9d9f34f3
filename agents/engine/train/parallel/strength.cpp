#include "agents/engine/train/parallel/strength.h"

#include <algorithm>
#include <utility>

namespace slipway::train {

Strength::Strength(int64_t fewest, int64_t most, std::function<int64_t()> newest_checkpoint)
    : fewest_(std::max<int64_t>(1, fewest)),
      most_(most),
      size_(most),
      newest_checkpoint_(std::move(newest_checkpoint)),
      newest_(newest_checkpoint_()) {}

void Strength::lose_one() {
  can_grow();  // counts what was saved just before
  const bool shortly_after_another = has_lost_ && checkpoints_since_ < patience_;
  --size_;
  if (shortly_after_another) {
    patience_ *= 2;
  } else if (suffices()) {
    size_ = most_;
  }
  has_lost_ = true;
  checkpoints_since_ = 0;
}

bool Strength::can_grow() {
  if (const int64_t newest = newest_checkpoint_(); newest != newest_) {
    newest_ = newest;
    ++checkpoints_since_;
  }
  return size_ < most_ && checkpoints_since_ >= patience_;
}

void Strength::grow() {
  size_ = most_;
  checkpoints_since_ = 0;
}

}  // namespace slipway::train
