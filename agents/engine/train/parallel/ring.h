// Sums and copies among the ranks of a job, each connected with the next (Patarasuk and Yuan 2009): every rank sends
// and receives 2 · (size - 1) / size of the data. All ranks get the same bits. Used by group.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "agents/engine/train/parallel/socket.h"

namespace slipway::train {

// One thread. All ranks call the same operations in the same order. Throws ConnectionClosed, and what `waiting` throws.
class Ring {
 public:
  Ring(int64_t rank, int64_t size, Socket next, Socket previous, WhileWaiting waiting)
      : rank_(rank),
        size_(size),
        next_(std::move(next)),
        previous_(std::move(previous)),
        waiting_(std::move(waiting)) {}

  // values become the sums over all ranks.
  void all_reduce(std::span<float> values);
  void all_reduce(std::span<double> values);
  // Part `rank` of values (size equal parts) becomes the sum over all ranks; the others are undefined.
  void reduce_scatter(std::span<float> values);
  // all: size equal parts, of which part `rank` is given; the others are filled.
  void all_gather(std::span<std::byte> all);
  // data of rank 0 to everyone.
  void broadcast(std::span<std::byte> data);

 private:
  template <typename T>
  void scatter_sums(std::span<T> values, const std::vector<size_t>& bounds);
  void gather_parts(std::span<std::byte> all, const std::vector<size_t>& bounds);
  template <typename T>
  void reduce(std::span<T> values);
  size_t part(int64_t behind) const { return static_cast<size_t>((rank_ - behind + 2 * size_) % size_); }

  int64_t rank_, size_;
  Socket next_, previous_;
  WhileWaiting waiting_;
  std::vector<std::byte> received_;
};

}  // namespace slipway::train
