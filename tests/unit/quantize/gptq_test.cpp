#include "agents/engine/quantize/gptq.h"

#include <gtest/gtest.h>

#include <cmath>

#include "agents/engine/kernels/kernels.h"
#include "backend/base/error.h"
#include "tests/unit/runtime/tiny_model.h"

namespace slipway::quantize {
namespace {

using runtime::random_values;

constexpr int64_t kInputs = 300;

// Inputs that hang together, some columns much larger than others, one never used.
std::vector<float> correlated_inputs(int64_t width) {
  const int64_t hidden = width / 4;
  const auto mix = random_values(static_cast<size_t>(hidden * width), 1, 1);
  const auto causes = random_values(static_cast<size_t>(kInputs * hidden), 1, 2);
  auto x = random_values(static_cast<size_t>(kInputs * width), 0.1F, 3);
  for (int64_t row = 0; row < kInputs; ++row) {
    for (int64_t i = 0; i < width; ++i) {
      float& value = x[static_cast<size_t>(row * width + i)];
      for (int64_t k = 0; k < hidden; ++k)
        value += causes[static_cast<size_t>(row * hidden + k)] * mix[static_cast<size_t>(k * width + i)];
      value *= i % 11 == 0 ? 5.0F : 1.0F;
      if (i == 3) value = 0;
    }
  }
  return x;
}

std::vector<float> sums_of(const std::vector<float>& x, int64_t width) {
  std::vector<float> sums(static_cast<size_t>(width * width));
  for (int64_t row = 0; row < kInputs; ++row) {
    for (int64_t i = 0; i < width; ++i) {
      for (int64_t j = 0; j <= i; ++j) {
        sums[static_cast<size_t>(i * width + j)] +=
            x[static_cast<size_t>(row * width + i)] * x[static_cast<size_t>(row * width + j)];
      }
    }
  }
  return sums;
}

// Mean square of what the products of x by the two weights differ by.
double output_error(const std::vector<float>& x, const std::vector<float>& a, const std::vector<float>& b,
                    int64_t width) {
  double error = 0;
  const int64_t rows = static_cast<int64_t>(a.size()) / width;
  for (int64_t input = 0; input < kInputs; ++input) {
    for (int64_t row = 0; row < rows; ++row) {
      double difference = 0;
      for (int64_t i = 0; i < width; ++i) {
        const auto at = static_cast<size_t>(row * width + i);
        difference += static_cast<double>(a[at] - b[at]) * x[static_cast<size_t>(input * width + i)];
      }
      error += difference * difference;
    }
  }
  return error / static_cast<double>(rows * kInputs);
}

TEST(Gptq, TheFactorIsThatOfTheInverse) {
  runtime::ThreadPool pool(2);
  const int64_t width = 45;
  const auto sums = sums_of(correlated_inputs(width), width);
  const Importance importance(sums, width, pool);
  double mean = 0;
  for (int64_t i = 0; i < width; ++i) mean += sums[static_cast<size_t>(i * width + i)] / static_cast<double>(width);
  // H · (Uᵀ U) = 1 in the factor's order.
  const auto order = importance.order();
  for (int64_t i = 0; i < width; i += 4) {
    for (int64_t j = 0; j < width; j += 3) {
      double product = 0;
      for (int64_t k = 0; k < width; ++k) {
        const auto a = std::max(order[static_cast<size_t>(i)], order[static_cast<size_t>(k)]);
        const auto b = std::min(order[static_cast<size_t>(i)], order[static_cast<size_t>(k)]);
        const double h = sums[static_cast<size_t>(a * width + b)] + (i == k ? 0.01 * mean : 0);
        double inverse = 0;
        for (int64_t m = 0; m <= std::min(k, j); ++m) {
          inverse += static_cast<double>(importance.factor(m)[static_cast<size_t>(k - m)]) *
                     importance.factor(m)[static_cast<size_t>(j - m)];
        }
        product += h * inverse;
      }
      ASSERT_NEAR(product, i == j ? 1 : 0, 2e-3) << i << " " << j;
    }
  }
}

TEST(Gptq, LosesLessThanPlainRoundingOnWhatItWasCalibratedOn) {
  runtime::ThreadPool pool(2);
  const kernels::Table& table = *kernels::table(kernels::best_level());
  for (const auto& [rows, width] : {std::pair<int64_t, int64_t>{37, 96}, {5, 70}}) {
    const auto x = correlated_inputs(width);
    const auto original = random_values(static_cast<size_t>(rows * width), 1, 4);
    std::vector<float> plain(original.size()), calibrated = original;
    runtime::Matrix rounded(rows, width, kernels::WeightFormat::kInt4);
    for (int64_t panel = 0; panel < rounded.panels(); ++panel) {
      const int64_t first = panel * kernels::kPanel, count = std::min(kernels::kPanel, rows - first);
      rounded.set_panel(
          panel, std::span(original).subspan(static_cast<size_t>(first * width), static_cast<size_t>(count * width)),
          table);
    }
    for (int64_t row = 0; row < rows; ++row) rounded.read_row(row, plain.data() + row * width);

    runtime::Matrix out(rows, width, kernels::WeightFormat::kInt4);
    round_with(Importance(sums_of(x, width), width, pool), calibrated, out, pool);
    EXPECT_LT(output_error(x, calibrated, original, width), 0.5 * output_error(x, plain, original, width));
    // What was packed is what was said.
    std::vector<float> read(original.size());
    for (int64_t row = 0; row < rows; ++row) out.read_row(row, read.data() + row * width);
    for (size_t i = 0; i < read.size(); ++i) ASSERT_NEAR(read[i], calibrated[i], 1e-6);
  }
}

TEST(Gptq, SumsThatAreNoNumbersAreRefused) {
  runtime::ThreadPool pool(1);
  EXPECT_THROW(Importance(std::vector<float>(16, NAN), 4, pool), base::Error);
  // A model whose layer reads nothing but zeros can still be rounded.
  const Importance nothing(std::vector<float>(16), 4, pool);
  std::vector<float> weights = {1, -1, 0.5F, 0, 0, 0, 0, 0};
  runtime::Matrix out(2, 4, kernels::WeightFormat::kInt4);
  round_with(nothing, weights, out, pool);
  EXPECT_NEAR(weights[0], 1, 0.07);
  EXPECT_EQ(weights[7], 0);
}

}  // namespace
}  // namespace slipway::quantize
