// How many ranks of a job there are to be, as they are lost and come back. Used by launcher.cpp.
#pragma once

#include <cstdint>
#include <functional>

namespace slipway::train {

// One thread.
class Strength {
 public:
  // newest_checkpoint: its step; -1 without one.
  Strength(int64_t fewest, int64_t most, std::function<int64_t()> newest_checkpoint);

  int64_t size() const { return size_; }
  bool suffices() const { return size_ >= fewest_; }

  // Ranks are ended and started again then, so that the lost one comes back at once, and all with it. It is left out
  // when another was lost shortly before (this machine may not hold them all), or when too few would be left without
  // it.
  void lose_one();

  // Those that were left out come back at a checkpoint, so that no step is computed twice for it. To be asked now and
  // then: it is how time is told, in checkpoints.
  bool can_grow();
  void grow();

 private:
  int64_t fewest_, most_, size_;
  std::function<int64_t()> newest_checkpoint_;
  int64_t newest_;
  bool has_lost_ = false;
  int64_t checkpoints_since_ = 0;  // the last loss, or the last growth
  // So many of them are a short time: twice as many after each loss within it, so that what this machine cannot hold is
  // not tried for ever.
  int64_t patience_ = 1;
};

}  // namespace slipway::train
