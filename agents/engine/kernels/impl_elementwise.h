// Loops over single rows of floats, over a vector type V that each level's file defines. Included only by those files,
// which are compiled with different machine flags: everything here must have internal linkage, and nothing from the
// standard library that the linker could share between them may be used.
#pragma once

#include <cstdint>

#include "agents/engine/kernels/kernels.h"

namespace slipway::kernels {
namespace {

// Coefficients of exp(r) for |r| ≤ ln(2)/2: the Taylor series to r^7, whose error there is below half a unit of f32.
inline constexpr float kExpCoefficients[] = {1.0F / 5040, 1.0F / 720, 1.0F / 120, 1.0F / 24,
                                             1.0F / 6,    0.5F,       1.0F,       1.0F};
inline constexpr float kLog2E = 1.44269504088896341F;
inline constexpr float kLn2High = 0.693359375F;  // exact in few bits, so that n × it is exact
inline constexpr float kLn2Low = -2.12194440e-4F;
inline constexpr float kExpLowest = -87.3F;
inline constexpr float kExpHighest = 88.3F;

template <typename V>
float maximum(const float* x, int64_t size) {
  float best = x[0];
  int64_t i = 0;
  if (size >= V::kLanes) {
    auto running = V::load(x);
    for (i = V::kLanes; i + V::kLanes <= size; i += V::kLanes) running = V::maximum(running, V::load(x + i));
    float lanes[V::kLanes];
    V::store(lanes, running);
    for (const float lane : lanes) best = lane > best ? lane : best;
  }
  for (; i < size; ++i) best = x[i] > best ? x[i] : best;
  return best;
}

template <typename V>
int64_t index_of_maximum(const float* x, int64_t size) {
  constexpr int64_t kBlock = 512;
  int64_t block = 0;
  float best = maximum<V>(x, size < kBlock ? size : kBlock);
  for (int64_t begin = kBlock; begin < size; begin += kBlock) {
    const float most = maximum<V>(x + begin, size - begin < kBlock ? size - begin : kBlock);
    block = most > best ? begin : block;
    best = most > best ? most : best;
  }
  for (int64_t i = block; i < size; ++i) {
    if (x[i] == best) return i;
  }
  return 0;
}

template <typename V>
float sum_exp(const float* x, float shift, int64_t size) {
  const auto minus = V::all(-shift);
  auto sum = V::zero();
  int64_t i = 0;
  for (; i + V::kLanes <= size; i += V::kLanes) {
    sum = V::add(sum, V::exp(V::add(V::load(x + i), minus)));
  }
  float total = V::sum(sum);
  if (i < size) {
    float lanes[V::kLanes];
    V::store(lanes, V::exp(V::add(V::load_part(x + i, static_cast<int>(size - i)), minus)));
    for (int64_t j = 0; i + j < size; ++j) total += lanes[j];
  }
  return total;
}

template <typename V>
void rms_norm(const float* x, const float* weight, float epsilon, int64_t size, float* out) {
  auto squares = V::zero();
  int64_t i = 0;
  for (; i + V::kLanes <= size; i += V::kLanes) {
    const auto value = V::load(x + i);
    squares = V::multiply_add(value, value, squares);
  }
  float sum = V::sum(squares);
  for (; i < size; ++i) sum += x[i] * x[i];
  const float factor = 1.0F / __builtin_sqrtf(sum / static_cast<float>(size) + epsilon);
  const auto factors = V::all(factor);
  for (i = 0; i + V::kLanes <= size; i += V::kLanes) {
    V::store(out + i, V::multiply(V::multiply(V::load(x + i), factors), V::load(weight + i)));
  }
  for (; i < size; ++i) out[i] = x[i] * factor * weight[i];
}

template <typename V>
void layer_norm(const float* x, const float* weight, const float* bias, float epsilon, int64_t size, float* out) {
  auto sums = V::zero();
  int64_t i = 0;
  for (; i + V::kLanes <= size; i += V::kLanes) sums = V::add(sums, V::load(x + i));
  float sum = V::sum(sums);
  for (; i < size; ++i) sum += x[i];
  const float mean = sum / static_cast<float>(size);
  const auto means = V::all(mean);
  auto squares = V::zero();
  for (i = 0; i + V::kLanes <= size; i += V::kLanes) {
    const auto value = V::subtract(V::load(x + i), means);
    squares = V::multiply_add(value, value, squares);
  }
  float square = V::sum(squares);
  for (; i < size; ++i) square += (x[i] - mean) * (x[i] - mean);
  const float factor = 1.0F / __builtin_sqrtf(square / static_cast<float>(size) + epsilon);
  const auto factors = V::all(factor);
  for (i = 0; i + V::kLanes <= size; i += V::kLanes) {
    const auto value = V::multiply(V::subtract(V::load(x + i), means), factors);
    V::store(out + i, V::multiply_add(value, V::load(weight + i), V::load(bias + i)));
  }
  for (; i < size; ++i) out[i] = (x[i] - mean) * factor * weight[i] + bias[i];
}

template <typename V>
void silu_multiply(float* gate, const float* up, int64_t size) {
  const auto one = V::all(1.0F);
  const auto part = [&](auto g, auto u) {
    const auto negative = V::subtract(V::zero(), g);
    return V::multiply(V::divide(g, V::add(one, V::exp(negative))), u);
  };
  int64_t i = 0;
  for (; i + V::kLanes <= size; i += V::kLanes) V::store(gate + i, part(V::load(gate + i), V::load(up + i)));
  if (i < size) {
    const int count = static_cast<int>(size - i);
    float lanes[V::kLanes];
    V::store(lanes, part(V::load_part(gate + i, count), V::load_part(up + i, count)));
    for (int j = 0; j < count; ++j) gate[i + j] = lanes[j];
  }
}

template <typename V>
void add(float* y, const float* x, int64_t size) {
  int64_t i = 0;
  for (; i + V::kLanes <= size; i += V::kLanes) V::store(y + i, V::add(V::load(y + i), V::load(x + i)));
  for (; i < size; ++i) y[i] += x[i];
}

}  // namespace
}  // namespace slipway::kernels
