#include "agents/engine/train/parallel/ring.h"

#include <algorithm>
#include <cstring>

namespace slipway::train {

namespace {

// What is sent at once in a broadcast: small enough that the ranks work at the same time.
constexpr size_t kBroadcastBytes = size_t{1} << 20U;

// Bounds of `parts` nearly equal parts of `count` elements.
std::vector<size_t> bounds_of(size_t count, int64_t parts) {
  std::vector<size_t> bounds;
  for (int64_t i = 0; i <= parts; ++i) bounds.push_back(count * static_cast<size_t>(i) / static_cast<size_t>(parts));
  return bounds;
}

template <typename T>
std::span<const std::byte> bytes(std::span<T> values, const std::vector<size_t>& bounds, size_t part) {
  return std::as_bytes(values.subspan(bounds[part], bounds[part + 1] - bounds[part]));
}

}  // namespace

// Each part travels once around and collects everybody's summand; part `rank` ends here.
template <typename T>
void Ring::scatter_sums(std::span<T> values, const std::vector<size_t>& bounds) {
  for (int64_t step = 0; step + 1 < size_; ++step) {
    const size_t sent = part(step + 1), taken = part(step + 2);
    const size_t count = bounds[taken + 1] - bounds[taken];
    if (received_.size() < count * sizeof(T)) received_.resize(count * sizeof(T));
    exchange(next_, bytes(values, bounds, sent), previous_, std::span(received_).first(count * sizeof(T)), waiting_);
    T* const target = values.data() + bounds[taken];
    const std::byte* const source = received_.data();
    for (size_t i = 0; i < count; ++i) {
      T summand;
      std::memcpy(&summand, source + i * sizeof(T), sizeof(T));
      target[i] += summand;
    }
  }
}

void Ring::gather_parts(std::span<std::byte> all, const std::vector<size_t>& bounds) {
  for (int64_t step = 0; step + 1 < size_; ++step) {
    const size_t sent = part(step), taken = part(step + 1);
    exchange(next_, bytes(all, bounds, sent), previous_, all.subspan(bounds[taken], bounds[taken + 1] - bounds[taken]),
             waiting_);
  }
}

template <typename T>
void Ring::reduce(std::span<T> values) {
  std::vector<size_t> bounds = bounds_of(values.size(), size_);
  scatter_sums(values, bounds);
  for (size_t& bound : bounds) bound *= sizeof(T);
  gather_parts(std::as_writable_bytes(values), bounds);
}

void Ring::all_reduce(std::span<float> values) { reduce(values); }

void Ring::all_reduce(std::span<double> values) { reduce(values); }

void Ring::reduce_scatter(std::span<float> values) { scatter_sums(values, bounds_of(values.size(), size_)); }

void Ring::all_gather(std::span<std::byte> all) { gather_parts(all, bounds_of(all.size(), size_)); }

void Ring::broadcast(std::span<std::byte> data) {
  const bool receives = rank_ > 0, sends = rank_ + 1 < size_;
  for (size_t begin = 0; begin < data.size(); begin += kBroadcastBytes) {
    const std::span<std::byte> piece = data.subspan(begin, std::min(kBroadcastBytes, data.size() - begin));
    if (receives) exchange(next_, {}, previous_, piece, waiting_);
    if (sends) exchange(next_, piece, previous_, {}, waiting_);
  }
}

}  // namespace slipway::train
