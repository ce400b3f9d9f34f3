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
constexpr int kRefinements = 3;
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

// Σ of the squared errors on a grid, each by its column's importance.
double error_on(const Grid& grid, const Importance& importance, std::span<const float> weights, int64_t first) {
  double error = 0;
  for (size_t k = 0; k < weights.size(); ++k) {
    const float difference = weights[k] - grid.value(grid.nearest(weights[k]));
    error += importance.weight(first + static_cast<int64_t>(k)) * difference * difference;
  }
  return error;
}

// The best of the grids whose ends are drawn in together, and then one alone.
Grid best_grid(const Importance& importance, std::span<const float> weights, int64_t first) {
  const auto [low, high] = std::minmax_element(weights.begin(), weights.end());
  const float least = std::min(0.0F, *low), most = std::max(0.0F, *high);
  Grid best;
  double best_error = -1;
  int best_low = 0, best_high = 0;
  const auto attempt = [&](int of_low, int of_high) {
    const Grid grid(least * (1 - kShrink * static_cast<float>(of_low)),
                    most * (1 - kShrink * static_cast<float>(of_high)));
    const double error = error_on(grid, importance, weights, first);
    if (best_error >= 0 && error >= best_error) return;
    best_error = error;
    best = grid;
    best_low = of_low;
    best_high = of_high;
  };
  for (int i = 0; i < kShrinks; ++i) attempt(i, i);
  for (int i = 0, end = best_high; i < kShrinks; ++i) attempt(i, end);
  for (int i = 0, end = best_low; i < kShrinks; ++i) attempt(end, i);
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
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < i; ++j) sums[j * n + i] = sums[i * n + j];
    sums[i * n + i] += static_cast<float>(damping);
  }
  sums_ = std::move(sums);
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

namespace {

// One row after GPTQ: what its error's gradient says is changed, one number after the other, so that the error
// (w′ − w)ᵀ H (w′ − w) falls with each.
class Refinement {
 public:
  // `original` and `rounded` of one row, with the blocks that stand for the latter.
  Refinement(const Importance& importance, std::span<const float> original, std::span<float> rounded,
             std::span<Grid> grids, std::span<kernels::Int4Block> blocks)
      : importance_(importance), rounded_(rounded), grids_(grids), blocks_(blocks), gradient_(rounded.size()) {
    for (size_t k = 0; k < rounded.size(); ++k) add(static_cast<int64_t>(k), rounded[k] - original[k]);
  }

  void run() {
    for (int i = 0; i < kRefinements; ++i) {
      for (const int64_t column : importance_.order()) move_weight(column);
      for (size_t block = 0; block < grids_.size(); ++block) move_scale(block);
    }
  }

 private:
  // What a change of one weight does to the gradient: H · change.
  void add(int64_t column, float change) {
    if (change == 0) return;
    const auto sums = importance_.sums(column);
    for (size_t k = 0; k < gradient_.size(); ++k) gradient_[k] += change * sums[k];
  }

  void move_weight(int64_t column) {
    const auto at = static_cast<size_t>(column);
    const Grid& grid = grids_[at / kBlock];
    const float wanted = rounded_[at] - gradient_[at] / importance_.sums(column)[at];
    const uint8_t q = grid.nearest(wanted);
    uint8_t& held = blocks_[at / kBlock].q[at % kBlock];
    if (q == held) return;
    held = q;
    set(at, grid.value(q));
  }

  void set(size_t at, float value) {
    add(static_cast<int64_t>(at), value - rounded_[at]);
    rounded_[at] = value;
  }

  // The scale that the least error has with these q, where bf16 has another one near it.
  void move_scale(size_t block) {
    const size_t begin = block * kBlock, end = std::min(begin + kBlock, rounded_.size());
    Grid& grid = grids_[block];
    if (grid.eighth == 0) return;
    double slope = 0, curve = 0;
    for (size_t i = begin; i < end; ++i) {
      const auto sums = importance_.sums(static_cast<int64_t>(i));
      float along = 0;
      for (size_t k = begin; k < end; ++k) along += sums[k] * rounded_[k];
      curve += static_cast<double>(along) * rounded_[i];
      slope += static_cast<double>(gradient_[i]) * rounded_[i];
    }
    if (!(curve > 0)) return;
    Grid moved = grid;
    moved.scale = model::f32_to_bf16(grid.eighth * static_cast<float>(1 - slope / curve));
    moved.eighth = model::bf16_to_f32(moved.scale);
    const double change = static_cast<double>(moved.eighth) / grid.eighth - 1;
    if (moved.scale == grid.scale || change * change * curve + 2 * change * slope >= 0) return;
    grid = moved;
    blocks_[block].scale = grid.scale;
    for (size_t i = begin; i < end; ++i) set(i, grid.value(blocks_[block].q[i % kBlock]));
  }

  const Importance& importance_;
  std::span<float> rounded_;
  std::span<Grid> grids_;
  std::span<kernels::Int4Block> blocks_;
  std::vector<float> gradient_;  // half of it
};

}  // namespace

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
    const auto of_panel = weights.subspan(static_cast<size_t>(first * width), static_cast<size_t>(count * width));
    const std::vector<float> original(of_panel.begin(), of_panel.end());
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
    for (int64_t lane = 0; lane < count; ++lane) {
      const auto at = static_cast<size_t>(lane * width), size = static_cast<size_t>(width);
      const auto of_blocks = static_cast<size_t>(lane * blocks), n = static_cast<size_t>(blocks);
      Refinement(importance, std::span(original).subspan(at, size), of_panel.subspan(at, size),
                 std::span(grids).subspan(of_blocks, n), std::span(packed).subspan(of_blocks, n))
          .run();
    }
    auto* lines = reinterpret_cast<uint8_t*>(out.panel(panel));
    for (int64_t lane = 0; lane < kernels::kPanel; ++lane) {
      for (int64_t block = 0; block < blocks; ++block) {
        // What pads a row must stand for zero.
        kernels::Int4Block& one = packed[static_cast<size_t>(lane * blocks + block)];
        const Grid& grid = grids[static_cast<size_t>(lane * blocks + block)];
        for (int64_t k = std::max<int64_t>(0, width - block * kBlock); lane < count && k < kBlock; ++k)
          one.q[k] = grid.nearest(0);
        kernels::store_int4_block(one, lane, lines + block * kernels::kInt4BlockBytes);
      }
    }
  });
}

}  // namespace slipway::quantize
