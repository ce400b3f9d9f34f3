// The ranks of a job, or the only one: who does what, and how what each has becomes one result. Hides from the trainer
// whether the model is here whole (ddp) or shared out (fsdp). Used by trainer.cpp, step.cpp and run_state.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "agents/engine/train/decoder/decoder.h"
#include "agents/engine/train/parallel/group.h"
#include "agents/engine/train/parallel/sharding.h"
#include "agents/engine/train/settings.h"

namespace slipway::train {

// One thread; all ranks call the same in the same order.
class Ranks {
 public:
  // Waits for the other ranks, where there are any.
  Ranks(const std::optional<RankEnvironment>& environment, Strategy strategy);

  // Where this rank computes: to be told before the decoder is made. False when GPUs can only be connected by way of
  // the main memory.
  bool place(at::Device device);

  int64_t rank() const { return group_ ? group_->rank() : 0; }
  int64_t size() const { return group_ ? group_->size() : 1; }
  bool is_first() const { return rank() == 0; }
  // For a decoder's options: nullptr where each rank holds the whole model.
  Residence* residence() { return sharding_.get(); }
  // Every rank must then run as many batches as the others.
  bool moves_together() const { return sharding_ != nullptr; }

  // What this rank's optimizer works on.
  Parameters& own(Decoder& decoder) { return sharding_ ? sharding_->own() : decoder.parameters(); }
  // After the last batch of a step: the gradients become the sums over all ranks.
  void add_up_gradients(Decoder& decoder);
  double gradient_norm(Decoder& decoder);

  void add_up(std::span<double> values);
  void add_up(const at::Tensor& values);
  // Where parameters are shared out: one unit of what lies as own().values does, on every rank; and the sum of all
  // ranks' `whole` into every rank's part of `own`.
  at::Tensor gather_unit(const at::Tensor& own, size_t unit) { return sharding_->gather(own, unit); }
  void add_up_unit(const at::Tensor& whole, size_t unit, const at::Tensor& own) { sharding_->add_up(whole, unit, own); }
  bool any(bool here) { return group_ ? group_->any(here) : here; }
  // Of each rank the value; the same on all.
  std::vector<double> of_each(double value);
  std::string from_first(std::string text) { return group_ ? group_->broadcast(std::move(text)) : text; }

  // Flat over all parameters, from a tensor that lies as own().values does; defined on the first rank alone. And back:
  // from the first rank's `whole` into everyone's `own`.
  at::Tensor whole(const Decoder& decoder, const at::Tensor& own);
  void give(const Decoder& decoder, const at::Tensor& whole, const at::Tensor& own);

  // Tells the others why this rank leaves, unless another has left before.
  void fail(const std::string& code, const std::string& message, const std::string& advice);

 private:
  Strategy strategy_;
  std::unique_ptr<Group> group_;
  std::unique_ptr<Sharding> sharding_;
};

}  // namespace slipway::train
