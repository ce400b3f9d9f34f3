#include "agents/engine/kernels/kernels.h"

#include <algorithm>
#include <cmath>

#include "tests/unit/kernels/levels.h"

namespace slipway::kernels {
namespace {

TEST_P(Kernels, ExponentialsAreAccurateAndKeepWhatIsNotANumber) {
  const auto x = random_values(1003, 12, 6);
  double expected = 0;
  for (const float value : x) expected += std::exp(static_cast<double>(value) - 40);
  EXPECT_NEAR(table_->sum_exp(x.data(), 40, 1003) / expected, 1, 1e-6);
  auto broken = x;
  broken[500] = NAN;
  EXPECT_TRUE(std::isnan(table_->sum_exp(broken.data(), 40, 1003)));

  auto gate = random_values(37, 8, 7);
  const auto before = gate;
  const auto up = random_values(37, 1, 8);
  table_->silu_multiply(gate.data(), up.data(), 37);
  for (size_t i = 0; i < gate.size(); ++i) {
    ASSERT_NEAR(gate[i], before[i] / (1 + std::exp(-static_cast<double>(before[i]))) * up[i], 1e-5);
  }
}

TEST_P(Kernels, TheFirstOfTheLargestIsFound) {
  for (const int64_t size : {1, 5, 16, 511, 512, 513, 1003, 5000}) {
    auto x = random_values(static_cast<size_t>(size), 3, static_cast<uint32_t>(size));
    for (const int64_t twice : {size - 1, size / 2, int64_t{0}}) {
      const auto first = std::max_element(x.begin(), x.end()) - x.begin();
      EXPECT_EQ(table_->index_of_maximum(x.data(), size), first) << table_->name << " " << size;
      x[static_cast<size_t>(twice)] = x[static_cast<size_t>(first)];
    }
    x.assign(x.size(), -INFINITY);
    EXPECT_EQ(table_->index_of_maximum(x.data(), size), 0);
    x.assign(x.size(), NAN);
    EXPECT_EQ(table_->index_of_maximum(x.data(), size), 0);
  }
}

TEST_P(Kernels, NormScalesToUnitMeanSquare) {
  const auto x = random_values(101, 3, 9);
  const auto weight = random_values(101, 1, 10);
  std::vector<float> out(101);
  table_->rms_norm(x.data(), weight.data(), 1e-5F, 101, out.data());
  double squares = 0;
  for (const float value : x) squares += static_cast<double>(value) * value;
  for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(out[i], x[i] / std::sqrt(squares / 101 + 1e-5) * weight[i], 1e-5);
}

TEST_P(Kernels, LayerNormTakesTheMeanOut) {
  const auto x = random_values(101, 3, 9);
  const auto weight = random_values(101, 1, 10), bias = random_values(101, 1, 11);
  std::vector<float> out(101);
  table_->layer_norm(x.data(), weight.data(), bias.data(), 1e-5F, 101, out.data());
  double mean = 0, squares = 0;
  for (const float value : x) mean += static_cast<double>(value) / 101;
  for (const float value : x) squares += (value - mean) * (value - mean);
  for (size_t i = 0; i < x.size(); ++i) {
    ASSERT_NEAR(out[i], (x[i] - mean) / std::sqrt(squares / 101 + 1e-5) * weight[i] + bias[i], 1e-5);
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, Kernels, testing::ValuesIn(kLevels), level_name);

}  // namespace
}  // namespace slipway::kernels
