#include "agents/engine/quantize/gptq.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "agents/engine/kernels/int4_block.h"
#include "agents/engine/model/dequantize.h"
#include "backend/base/error.h"

namespace slipway::quantize {
namespace {

constexpr float kDamping = 0.01F;
constexpr int kShrinks = 12;  // ranges of a block that are tried, each narrower by kShrink of the whole
constexpr float kShrink = 0.03F;
constexpr int64_t kBlock = kernels::kInt4Block;
constexpr int64_t kMostZero = 120;  // in eighths of a step

// The sixteen values that the weights of a block can have.
struct Grid {
  uint16_t scale = 0;
  float eighth = 0;
  int32_t zero = 0;

  Grid() = default;
  // low ≤ 0 ≤ high.
  Grid(float low, float high)
      : scale(model::f32_to_bf16((high - low) / (15.0F * 8.0F))),
        eighth(model::bf16_to_f32(scale)),
        zero(eighth > 0 ? static_cast<int32_t>(std::min<long>(kMostZero, std::lround(-low / eighth))) : 0) {}

  uint8_t nearest(float value) const {
    if (eighth == 0) return 0;
    const float q = std::nearbyint((value / eighth + static_cast<float>(zero)) * 0.125F);
    return static_cast<uint8_t>(std::clamp(q, 0.0F, 15.0F));
  }
  float value(uint8_t q) const { return eighth * static_cast<float>(8 * q - zero); }
};

// The grid with the least error, by the columns' importance.
Grid best_grid(const Importance& importance, std::span<const float> weights, int64_t first) {
  const auto [low, high] = std::minmax_element(weights.begin(), weights.end());
  const float least = std::min(0.0F, *low), most = std::max(0.0F, *high);
  Grid best(least, most);
  double best_error = -1;
  for (int i = 0; i < kShrinks; ++i) {
    const float part = 1 - kShrink * static_cast<float>(i);
    const Grid grid(least * part, most * part);
    double error = 0;
    for (size_t k = 0; k < weights.size(); ++k) {
      const float difference = weights[k] - grid.value(grid.nearest(weights[k]));
      error += importance.weight(first + static_cast<int64_t>(k)) * difference * difference;
    }
    if (best_error >= 0 && error >= best_error) continue;
    best_error = error;
    best = grid;
  }
  return best;
}

// Lower Cholesky factor in place, row by row; the upper half is left alone. False: not positive definite.
bool factorize(std::vector<double>& a, int64_t n, runtime::ThreadPool& pool) {
  constexpr int64_t kRows = 32;  // of a task
  for (int64_t j = 0; j < n; ++j) {
    const double* row = a.data() + j * n;
    double diagonal = row[j];
    for (int64_t k = 0; k < j; ++k) diagonal -= row[k] * row[k];
    if (!(diagonal > 0)) return false;
    diagonal = std::sqrt(diagonal);
    a[static_cast<size_t>(j * n + j)] = diagonal;
    const int64_t below = n - j - 1;
    const auto solve = [&](int64_t task, int) {
      for (int64_t i = j + 1 + task * kRows; i < std::min(n, j + 1 + (task + 1) * kRows); ++i) {
        double* other = a.data() + i * n;
        double sums[4] = {};
        int64_t k = 0;
        for (; k + 4 <= j; k += 4) {
          for (int64_t lane = 0; lane < 4; ++lane) sums[lane] += other[k + lane] * row[k + lane];
        }
        double sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
        for (; k < j; ++k) sum += other[k] * row[k];
        other[j] = (other[j] - sum) / diagonal;
      }
    };
    const int64_t tasks = (below + kRows - 1) / kRows;
    if (below * j > (1 << 15)) {
      pool.run(tasks, solve);
    } else {
      for (int64_t task = 0; task < tasks; ++task) solve(task, 0);
    }
  }
  return true;
}

}  // namespace

Importance::Importance(std::vector<float> sums, int64_t width, runtime::ThreadPool& pool)
    : width_(width), order_(static_cast<size_t>(width)), diagonal_(static_cast<size_t>(width)) {
  const auto n = static_cast<size_t>(width);
  double mean = 0;
  for (size_t i = 0; i < n; ++i) mean += diagonal_[i] = sums[i * n + i];
  mean /= static_cast<double>(width);
  if (!std::isfinite(mean)) {
    throw base::Error(base::kInvalidData, "the model's own numbers on the calibration rows are not finite",
                      "check the model: evaluate it before quantising it");
  }
  const auto damping = static_cast<double>(kDamping) * (mean > 0 ? mean : 1.0);
  std::iota(order_.begin(), order_.end(), 0);
  std::stable_sort(order_.begin(), order_.end(), [&](int64_t a, int64_t b) { return weight(a) > weight(b); });

  // With the columns reversed H = L Lᵀ, and then the upper factor of H⁻¹ is the inverse of L, reversed back.
  std::vector<double> lower(n * n);
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j <= i; ++j) {
      const auto a = static_cast<size_t>(order_[n - 1 - i]), b = static_cast<size_t>(order_[n - 1 - j]);
      lower[i * n + j] = static_cast<double>(sums[std::max(a, b) * n + std::min(a, b)]) + (i == j ? damping : 0);
    }
  }
  if (!factorize(lower, width, pool)) {
    throw base::Error(base::kInvalidData, "the calibration rows give no usable sums",
                      "give more rows, or rows that are longer");
  }
  factor_.resize(n * n);
  // Column c of the inverse of L by forward substitution; it is row n − 1 − c of the factor, from its end on.
  pool.run(width, [&](int64_t column, int) {
    const auto c = static_cast<size_t>(column);
    std::vector<double> inverse(n);
    for (size_t i = c; i < n; ++i) {
      double sum = i == c ? 1 : 0;
      for (size_t k = c; k < i; ++k) sum -= lower[i * n + k] * inverse[k];
      inverse[i] = sum / lower[i * n + i];
      factor_[(n - 1 - i) * n + (n - 1 - c)] = static_cast<float>(inverse[i]);
    }
  });
}

std::span<const float> Importance::factor(int64_t i) const {
  return std::span(factor_).subspan(static_cast<size_t>(i * width_ + i), static_cast<size_t>(width_ - i));
}

void round_with(const Importance& importance, std::span<float> weights, runtime::Matrix& out,
                runtime::ThreadPool& pool) {
  const int64_t width = importance.width(), rows = static_cast<int64_t>(weights.size()) / width;
  const int64_t blocks = (width + kBlock - 1) / kBlock;
  const auto order = importance.order();
  // A panel's rows at once, so that each row of the factor is read for all of them.
  pool.run(out.panels(), [&](int64_t panel, int) {
    const int64_t first = panel * kernels::kPanel, count = std::min(kernels::kPanel, rows - first);
    std::vector<Grid> grids(static_cast<size_t>(kernels::kPanel * blocks));
    std::vector<kernels::Int4Block> packed(grids.size());
    std::vector<float> left(static_cast<size_t>(count * width));  // in the factor's order
    for (int64_t lane = 0; lane < count; ++lane) {
      const auto row = weights.subspan(static_cast<size_t>((first + lane) * width), static_cast<size_t>(width));
      for (int64_t block = 0; block < blocks; ++block) {
        const int64_t begin = block * kBlock;
        const auto part = row.subspan(static_cast<size_t>(begin), static_cast<size_t>(std::min(kBlock, width - begin)));
        const auto at = static_cast<size_t>(lane * blocks + block);
        grids[at] = best_grid(importance, part, begin);
        packed[at].scale = grids[at].scale;
        packed[at].zero = static_cast<uint8_t>(grids[at].zero);
      }
      for (int64_t i = 0; i < width; ++i)
        left[static_cast<size_t>(lane * width + i)] = row[static_cast<size_t>(order[static_cast<size_t>(i)])];
    }
    for (int64_t i = 0; i < width; ++i) {
      const auto factor = importance.factor(i);
      const int64_t column = order[static_cast<size_t>(i)];
      for (int64_t lane = 0; lane < count; ++lane) {
        float* values = left.data() + lane * width + i;
        const auto at = static_cast<size_t>(lane * blocks + column / kBlock);
        const uint8_t q = grids[at].nearest(values[0]);
        const float rounded = grids[at].value(q);
        packed[at].q[column % kBlock] = q;
        const float error = (values[0] - rounded) / factor[0];
        for (size_t k = 1; k < factor.size(); ++k) values[k] -= error * factor[k];
        weights[static_cast<size_t>((first + lane) * width + column)] = rounded;
      }
    }
    auto* bytes = reinterpret_cast<uint8_t*>(out.panel(panel));
    for (int64_t lane = 0; lane < kernels::kPanel; ++lane) {
      for (int64_t block = 0; block < blocks; ++block) {
        // What pads a row must stand for zero.
        kernels::Int4Block& one = packed[static_cast<size_t>(lane * blocks + block)];
        const Grid& grid = grids[static_cast<size_t>(lane * blocks + block)];
        for (int64_t k = std::max<int64_t>(0, width - block * kBlock); lane < count && k < kBlock; ++k)
          one.q[k] = grid.nearest(0);
        kernels::store_int4_block(one, lane, kernels::int4_place(block, blocks), bytes);
      }
    }
  });
}

}  // namespace slipway::quantize
