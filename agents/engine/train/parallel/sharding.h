// Fully sharded training (Rajbhandari et al. 2020, stage 3): of every unit's masters, gradients and frozen weights each
// rank keeps one part; a unit is gathered when it is used, the next ones beside the computation, and left again. Used
// by trainer.cpp.
#pragma once

#include <deque>
#include <vector>

#include "agents/engine/train/decoder/residence.h"
#include "agents/engine/train/parallel/group.h"

namespace slipway::train {

// One thread.
class Sharding : public Residence {
 public:
  // Its part of everything lies on `device`.
  Sharding(Group& group, at::Device device) : group_(group), device_(device) {}
  ~Sharding() override;

  void adopt(size_t unit, const std::vector<at::Tensor>& frozen) override;
  void share_out(Parameters& parameters, size_t lowest_trained_unit) override;
  void fill(const Parameters& parameters, size_t index, const at::Tensor& value) override;
  const std::vector<at::Tensor>& enter(Parameters& parameters, size_t unit, Pass pass) override;
  void leave(Parameters& parameters, size_t unit, Pass pass) override;

  // This rank's part as parameters of its own: what its optimizer works on. Between the units' parts lie fillings
  // without a name, so that every part begins at its own offset.
  Parameters& own() { return own_; }

  // One unit of it, on every rank; and every rank's part as the sum of all ranks' `whole`.
  at::Tensor gather(const at::Tensor& own, size_t unit);
  void add_up(const at::Tensor& whole, size_t unit, const at::Tensor& own);

  // Flat over all parameters, from what lies as own().values does: in rank 0's main memory, elsewhere undefined. All
  // ranks call it.
  at::Tensor whole(const Parameters& parameters, const at::Tensor& own);
  // The other way: `whole` of rank 0 into every rank's part.
  void scatter(const Parameters& parameters, const at::Tensor& whole, const at::Tensor& own);

 private:
  // Units that are gathered ahead of the one in use, at most; and sums on their way.
  static constexpr size_t kAhead = 2;

  struct Unit {
    int64_t size = 0, part = 0, own_begin = 0;  // elements: of all, of each rank's part; where the part lies in own_
    // Frozen weights: this rank's part of all of them, one after the other.
    std::vector<std::vector<int64_t>> frozen_shapes;
    at::Tensor frozen_part;
    // While the unit is here or on its way.
    bool wanted = false;
    at::Tensor all, frozen_all;
    std::vector<Group::Pending> arriving;
    std::vector<at::Tensor> frozen;
    at::Tensor gradients;
  };
  struct Sum {
    size_t unit = 0;
    at::Tensor values;
    Group::Pending pending;
  };

  // A buffer that was given back, or a new one. A unit's are as large as the next one's, and the heap has holes in
  // which those would not fit by a hair (glibc's aligned allocations).
  at::Tensor take(int64_t elements, const at::TensorOptions& options);
  void give_back(at::Tensor& buffer);
  void fetch(Unit& unit);
  void wait_for(Unit& unit);
  void drop(Unit& unit);
  void add_sums(size_t left_on_their_way);
  int64_t part_of(int64_t elements) const { return (elements + group_.size() - 1) / group_.size(); }

  Group& group_;
  at::Device device_;
  std::vector<Unit> units_;
  size_t lowest_ = 1;
  Parameters own_;
  std::deque<Sum> sums_;
  std::vector<at::Tensor> spare_;
};

}  // namespace slipway::train
