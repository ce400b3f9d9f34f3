#include "agents/engine/train/parallel/sharding.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

namespace slipway::train {

namespace {

void finish(std::vector<Group::Pending>& pending) {
  for (Group::Pending& one : pending) one.get();
  pending.clear();
}

}  // namespace

Sharding::~Sharding() {
  // What is on its way still writes into the tensors.
  for (Unit& unit : units_) {
    for (Group::Pending& one : unit.arriving) one.wait();
  }
  for (Sum& sum : sums_) sum.pending.wait();
}

void Sharding::adopt(size_t unit, const std::vector<at::Tensor>& frozen) {
  if (units_.size() <= unit) units_.resize(unit + 1);
  if (frozen.empty()) return;
  Unit& u = units_[unit];
  int64_t elements = 0;
  for (const at::Tensor& tensor : frozen) {
    u.frozen_shapes.push_back(tensor.sizes().vec());
    elements += tensor.numel();
  }
  const int64_t part = part_of(elements), begin = group_.rank() * part;
  u.frozen_part = at::zeros({part}, frozen.front().options());
  int64_t offset = 0;
  for (const at::Tensor& tensor : frozen) {
    const int64_t first = std::max(begin, offset), last = std::min(begin + part, offset + tensor.numel());
    if (first < last) {
      u.frozen_part.narrow(0, first - begin, last - first)
          .copy_(tensor.flatten().narrow(0, first - offset, last - first));
    }
    offset += tensor.numel();
  }
}

void Sharding::share_out(Parameters& parameters, size_t lowest_trained_unit) {
  lowest_ = lowest_trained_unit;
  for (size_t i = 0; i < parameters.unit_count(); ++i) {
    Unit& u = units_[i];
    const ParameterUnit& all = parameters.unit(i);
    u.size = all.end - all.begin;
    u.part = part_of(u.size);
    u.own_begin = own_.element_count();
    const int64_t begin = all.begin + group_.rank() * u.part, end = std::min(begin + u.part, all.end);
    for (const Parameter& p : parameters.list()) {
      const int64_t first = std::max(p.offset, begin), last = std::min(p.offset + p.size, end);
      if (p.offset < all.begin || p.offset >= all.end || first >= last) continue;
      own_.add({p.name, {last - first}, p.decayed, p.embedding, p.lr_scale, 0, 0});
    }
    const int64_t filling = u.own_begin + u.part - own_.element_count();
    if (filling > 0) own_.add({"", {filling}, false, false, 1.0, 0, 0});
  }
  own_.allocate(device_, true);
}

void Sharding::fill(const Parameters& parameters, size_t index, const at::Tensor& value) {
  const Parameter& p = parameters.list()[index];
  for (size_t i = 0; i < units_.size(); ++i) {
    const ParameterUnit& all = parameters.unit(i);
    if (p.offset < all.begin || p.offset >= all.end) continue;
    const Unit& u = units_[i];
    const int64_t begin = all.begin + group_.rank() * u.part, end = std::min(begin + u.part, all.end);
    const int64_t first = std::max(p.offset, begin), last = std::min(p.offset + p.size, end);
    if (first >= last) return;
    own_.values.narrow(0, u.own_begin + first - begin, last - first)
        .copy_(value.flatten().narrow(0, first - p.offset, last - first));
  }
}

at::Tensor Sharding::take(int64_t elements, const at::TensorOptions& options) {
  const auto found = std::find_if(spare_.begin(), spare_.end(), [&](const at::Tensor& one) {
    return one.numel() == elements && one.scalar_type() == options.dtype().toScalarType();
  });
  if (found == spare_.end()) return at::empty({elements}, options);
  at::Tensor taken = std::move(*found);
  spare_.erase(found);
  return taken;
}

void Sharding::give_back(at::Tensor& buffer) {
  if (buffer.defined() && buffer.storage().use_count() == 1) spare_.push_back(buffer);
  buffer.reset();
}

void Sharding::fetch(Unit& u) {
  if (u.wanted) return;
  u.wanted = true;
  const int64_t rank = group_.rank(), size = group_.size();
  if (u.part > 0) {
    u.all = take(u.part * size, own_.values.options());
    u.all.narrow(0, rank * u.part, u.part).copy_(own_.values.narrow(0, u.own_begin, u.part));
    u.arriving.push_back(group_.begin_all_gather(u.all));
  }
  if (u.frozen_part.defined()) {
    const int64_t part = u.frozen_part.numel();
    u.frozen_all = take(part * size, u.frozen_part.options());
    u.frozen_all.narrow(0, rank * part, part).copy_(u.frozen_part);
    u.arriving.push_back(group_.begin_all_gather(u.frozen_all));
  }
}

void Sharding::wait_for(Unit& u) {
  finish(u.arriving);
  u.frozen.clear();
  int64_t offset = 0;
  for (const std::vector<int64_t>& shape : u.frozen_shapes) {
    const int64_t elements = c10::multiply_integers(shape);
    u.frozen.push_back(u.frozen_all.narrow(0, offset, elements).view(shape));
    offset += elements;
  }
}

void Sharding::drop(Unit& u) {
  u.wanted = false;
  u.frozen.clear();
  give_back(u.all);
  give_back(u.frozen_all);
}

const std::vector<at::Tensor>& Sharding::enter(Parameters& parameters, size_t unit, Pass pass) {
  Unit& u = units_[unit];
  fetch(u);
  for (size_t k = 1; unit > 0 && k <= kAhead; ++k) {
    const bool forward = pass == Pass::kForward;
    if (forward ? unit + k < units_.size() : unit >= lowest_ + k) fetch(units_[forward ? unit + k : unit - k]);
  }
  wait_for(u);
  ParameterUnit& here = parameters.unit(unit);
  if (u.part == 0) return u.frozen;
  here.values = u.all.narrow(0, 0, u.size);
  if (pass == Pass::kBackward) {
    u.gradients = take(u.part * group_.size(), own_.values.options()).zero_();
    here.gradients = u.gradients.narrow(0, 0, u.size);
  }
  return u.frozen;
}

void Sharding::leave(Parameters& parameters, size_t unit, Pass pass) {
  Unit& u = units_[unit];
  ParameterUnit& here = parameters.unit(unit);
  here.values.reset();
  here.gradients.reset();
  drop(u);
  if (pass == Pass::kForward) return;
  if (u.part > 0) {
    const at::Tensor values = std::exchange(u.gradients, at::Tensor());
    sums_.push_back({unit, values, group_.begin_reduce_scatter(values)});
  }
  add_sums(unit == 0 ? 0 : kAhead);
}

void Sharding::add_sums(size_t left_on_their_way) {
  while (sums_.size() > left_on_their_way) {
    Sum sum = std::move(sums_.front());
    sums_.pop_front();
    sum.pending.get();
    const Unit& u = units_[sum.unit];
    own_.gradients.narrow(0, u.own_begin, u.part).add_(sum.values.narrow(0, group_.rank() * u.part, u.part));
    give_back(sum.values);
  }
}

at::Tensor Sharding::whole(const Parameters& parameters, const at::Tensor& own) {
  at::Tensor result;
  if (group_.is_first()) result = at::empty({parameters.element_count()}, own.options().device(at::kCPU));
  for (size_t i = 0; i < units_.size(); ++i) {
    const Unit& u = units_[i];
    if (u.part == 0) continue;
    const at::Tensor all = gather(own, i);
    if (group_.is_first()) result.narrow(0, parameters.unit(i).begin, u.size).copy_(all);
  }
  return result;
}

at::Tensor Sharding::gather(const at::Tensor& own, size_t unit) {
  const Unit& u = units_[unit];
  const at::Tensor all = at::empty({u.part * group_.size()}, own.options());
  all.narrow(0, group_.rank() * u.part, u.part).copy_(own.narrow(0, u.own_begin, u.part));
  group_.begin_all_gather(all).get();
  return all.narrow(0, 0, u.size);
}

void Sharding::add_up(const at::Tensor& whole, size_t unit, const at::Tensor& own) {
  const Unit& u = units_[unit];
  const at::Tensor all = at::zeros({u.part * group_.size()}, own.options());
  all.narrow(0, 0, u.size).copy_(whole);
  group_.begin_reduce_scatter(all).get();
  own.narrow(0, u.own_begin, u.part).copy_(all.narrow(0, group_.rank() * u.part, u.part));
}

void Sharding::scatter(const Parameters& parameters, const at::Tensor& whole, const at::Tensor& own) {
  for (size_t i = 0; i < units_.size(); ++i) {
    const Unit& u = units_[i];
    if (u.part == 0) continue;
    const at::Tensor all = at::zeros({u.part * group_.size()}, own.options());
    if (group_.is_first()) all.narrow(0, 0, u.size).copy_(whole.narrow(0, parameters.unit(i).begin, u.size));
    group_.broadcast(all);
    own.narrow(0, u.own_begin, u.part).copy_(all.narrow(0, group_.rank() * u.part, u.part));
  }
}

}  // namespace slipway::train
