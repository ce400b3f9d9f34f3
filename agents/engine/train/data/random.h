// The trainer's own random numbers: the same on every machine and with every version of libtorch, and made from
// (seed, purpose) alone, so that a resumed run needs no stored generator state. Used by data order, LoRA and dropout.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace slipway::train {

// A seed for one purpose, e.g. mix_seed(42, "shuffle", epoch). FNV-1a over the name, finished by SplitMix64.
uint64_t mix_seed(uint64_t seed, std::string_view purpose, uint64_t index = 0);

// SplitMix64 (Steele, Lea, Flood 2014). One thread.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next();
  // Uniform in [0, bound), without bias; bound > 0.
  uint64_t below(uint64_t bound);
  // Uniform in [0, 1) on a grid of 2^-24, exact in f32.
  float uniform();
  // Normal with mean 0 and deviation 1, by Box and Muller.
  float normal();

 private:
  uint64_t state_;
};

// 0 … count-1 in an order drawn by Fisher and Yates.
std::vector<int64_t> shuffled_order(int64_t count, uint64_t seed);

}  // namespace slipway::train
