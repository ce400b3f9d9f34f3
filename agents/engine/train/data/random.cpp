#include "agents/engine/train/data/random.h"

#include <cmath>
#include <numbers>
#include <numeric>
#include <utility>

namespace slipway::train {

namespace {

uint64_t finish(uint64_t z) {
  z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27U)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31U);
}

}  // namespace

uint64_t mix_seed(uint64_t seed, std::string_view purpose, uint64_t index) {
  uint64_t hash = 0xCBF29CE484222325ULL;
  for (const char c : purpose) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
  return finish(finish(seed + 0x9E3779B97F4A7C15ULL) ^ hash) ^ finish(index + 0xD1B54A32D192ED03ULL);
}

uint64_t Random::next() { return finish(state_ += 0x9E3779B97F4A7C15ULL); }

uint64_t Random::below(uint64_t bound) {
  const uint64_t rejected = (0 - bound) % bound;  // 2^64 mod bound values would be drawn once too often
  for (;;) {
    const uint64_t value = next();
    if (value >= rejected) return value % bound;
  }
}

float Random::uniform() { return static_cast<float>(next() >> 40U) * 0x1.0p-24F; }

float Random::normal() {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - static_cast<double>(uniform())));
  return static_cast<float>(radius * std::cos(2.0 * std::numbers::pi * static_cast<double>(uniform())));
}

std::vector<int64_t> shuffled_order(int64_t count, uint64_t seed) {
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  Random random(seed);
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  return order;
}

}  // namespace slipway::train
