#include "agents/engine/train/parallel/ranks.h"

#include <ATen/ATen.h>

#include <cmath>

namespace slipway::train {

Ranks::Ranks(const std::optional<RankEnvironment>& environment, Strategy strategy) : strategy_(strategy) {
  if (environment) group_ = std::make_unique<Group>(*environment);
}

bool Ranks::place(at::Device device) {
  if (!group_) return true;
  if (strategy_ == Strategy::kFullySharded) sharding_ = std::make_unique<Sharding>(*group_, device);
  return group_->place(device) || device.is_cpu();
}

void Ranks::add_up_gradients(Decoder& decoder) {
  if (group_ && !sharding_) group_->all_reduce(decoder.parameters().gradients);
}

double Ranks::gradient_norm(Decoder& decoder) {
  double sum = squared_norm(own(decoder));
  if (sharding_) add_up(std::span(&sum, 1));
  return std::sqrt(sum);
}

void Ranks::add_up(std::span<double> values) {
  if (group_) group_->all_reduce(values);
}

void Ranks::add_up(const at::Tensor& values) {
  if (group_) group_->all_reduce(values);
}

std::vector<double> Ranks::of_each(double value) {
  std::vector<double> values(static_cast<size_t>(size()), 0.0);
  values[static_cast<size_t>(rank())] = value;
  add_up(values);
  return values;
}

at::Tensor Ranks::whole(const Decoder& decoder, const at::Tensor& own) {
  if (sharding_) return sharding_->whole(decoder.parameters(), own);
  return is_first() ? own : at::Tensor();
}

void Ranks::give(const Decoder& decoder, const at::Tensor& whole, const at::Tensor& own) {
  if (sharding_) {
    sharding_->scatter(decoder.parameters(), whole, own);
    return;
  }
  if (is_first()) own.copy_(whole.view(own.sizes()));
  if (group_) group_->broadcast(own);
}

void Ranks::fail(const std::string& code, const std::string& message, const std::string& advice) {
  if (group_ && code != kRankLost) group_->fail(code, message, advice);
}

}  // namespace slipway::train
