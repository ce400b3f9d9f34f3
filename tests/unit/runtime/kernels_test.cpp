#include "agents/engine/kernels/kernels.h"

#include <gtest/gtest.h>

#include <cmath>

#include "agents/engine/model/dequantize.h"
#include "tests/unit/runtime/tiny_model.h"

namespace slipway::kernels {
namespace {

using runtime::random_values;

class Kernels : public testing::TestWithParam<Level> {
 protected:
  void SetUp() override {
    table_ = table(GetParam());
    if (table_ == nullptr) GTEST_SKIP() << "this machine does not have it";
  }
  const Table* table_ = nullptr;
};

struct Product {
  int64_t rows, columns, depth;
  std::vector<float> x, w;
  std::vector<uint16_t> w16;

  Product(int64_t m, int64_t n, int64_t k)
      : rows(m),
        columns(n),
        depth(k),
        x(random_values(static_cast<size_t>(m * k), 1, 1)),
        w(random_values(static_cast<size_t>(n * k), 1, 2)) {
    for (float& value : w) {
      w16.push_back(model::f32_to_bf16(value));
      value = model::bf16_to_f32(w16.back());
    }
  }

  // In pieces of `piece` columns and `block` rows.
  std::vector<float> run(const Table& table, WeightFormat format, int64_t block, int64_t piece) const {
    std::vector<float> y(static_cast<size_t>(rows * columns), 0.5F);
    for (int64_t row = 0; row < rows; row += block) {
      for (int64_t begin = 0; begin < columns; begin += piece) {
        MatmulCall call;
        call.x = x.data() + row * depth;
        call.x_stride = depth;
        call.rows = std::min(block, rows - row);
        call.weights = format == WeightFormat::kF32 ? static_cast<const void*>(w.data()) : w16.data();
        call.format = format;
        call.depth = depth;
        call.begin = begin;
        call.end = std::min(columns, begin + piece);
        call.y = y.data() + row * columns;
        call.y_stride = columns;
        call.accumulate = true;
        table.matmul(call);
      }
    }
    return y;
  }
};

TEST_P(Kernels, ProductIsRightAndTheSameBitsHoweverItIsCut) {
  for (const auto& [rows, columns, depth] :
       {std::tuple<int64_t, int64_t, int64_t>{1, 37, 100}, {13, 29, 67}, {9, 8, 5}, {70, 16, 1100}}) {
    const Product product(rows, columns, depth);
    for (const auto format : {WeightFormat::kF32, WeightFormat::kBF16}) {
      const auto whole = product.run(*table_, format, rows, columns);
      for (int64_t i = 0; i < rows; ++i) {
        for (int64_t j = 0; j < columns; ++j) {
          double sum = 0.5;
          for (int64_t k = 0; k < depth; ++k) {
            sum += static_cast<double>(product.x[static_cast<size_t>(i * depth + k)]) *
                   product.w[static_cast<size_t>(j * depth + k)];
          }
          ASSERT_NEAR(whole[static_cast<size_t>(i * columns + j)], sum, 2e-4) << i << " " << j;
        }
      }
      for (const auto& [block, piece] : {std::pair<int64_t, int64_t>{1, columns}, {1, 3}, {2, 8}, {5, 11}, {rows, 1}}) {
        ASSERT_EQ(product.run(*table_, format, block, piece), whole) << table_->name << " " << block << " " << piece;
      }
    }
  }
}

TEST_P(Kernels, AttentionIsTheSoftmaxWeightedSumOverThePages) {
  for (const int64_t head_dim : {8, 34, 64, 80}) {
    for (const int64_t length : {1, 15, 16, 17, 50}) {
      const int64_t heads = 3, pages = 8, stride = kPageTokens * head_dim;
      const auto q = random_values(static_cast<size_t>(heads * head_dim), 1, 3);
      const auto keys = random_values(static_cast<size_t>(pages * stride), 1, 4);
      const auto values = random_values(static_cast<size_t>(pages * stride), 1, 5);
      const std::vector<int32_t> order = {6, 1, 4, 0};
      std::vector<float> scores(static_cast<size_t>(heads * 64)), out(static_cast<size_t>(heads * head_dim));
      AttentionCall call{q.data(), heads,  head_dim, keys.data(),   values.data(), order.data(),
                         stride,   length, 0.3F,     scores.data(), out.data()};
      table_->attention(call);
      for (int64_t head = 0; head < heads; ++head) {
        const auto at = [&](int64_t t) {
          return order[static_cast<size_t>(t / kPageTokens)] * stride + t % kPageTokens * head_dim;
        };
        std::vector<double> weights;
        double total = 0;
        for (int64_t t = 0; t < length; ++t) {
          double score = 0;
          for (int64_t d = 0; d < head_dim; ++d)
            score += q[static_cast<size_t>(head * head_dim + d)] * keys[static_cast<size_t>(at(t) + d)];
          total += weights.emplace_back(std::exp(0.3 * score));
        }
        for (int64_t d = 0; d < head_dim; ++d) {
          double expected = 0;
          for (int64_t t = 0; t < length; ++t)
            expected += weights[static_cast<size_t>(t)] / total * values[static_cast<size_t>(at(t) + d)];
          ASSERT_NEAR(out[static_cast<size_t>(head * head_dim + d)], expected, 1e-5);
        }
        // One head alone gives the same bits.
        std::vector<float> alone(static_cast<size_t>(head_dim));
        AttentionCall one = call;
        one.queries += head * head_dim;
        one.heads = 1;
        one.out = alone.data();
        table_->attention(one);
        ASSERT_TRUE(std::equal(alone.begin(), alone.end(), out.begin() + head * head_dim));
      }
    }
  }
}

TEST_P(Kernels, ExponentialsAreAccurateAndKeepWhatIsNotANumber) {
  const auto x = random_values(1003, 12, 6);
  double expected = 0;
  for (const float value : x) expected += std::exp(static_cast<double>(value) - 40);
  EXPECT_NEAR(table_->sum_exp(x.data(), 40, 1003) / expected, 1, 1e-6);
  EXPECT_EQ(table_->maximum(x.data(), 1003), *std::max_element(x.begin(), x.end()));
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

TEST_P(Kernels, NormScalesToUnitMeanSquare) {
  const auto x = random_values(101, 3, 9);
  const auto weight = random_values(101, 1, 10);
  std::vector<float> out(101);
  table_->rms_norm(x.data(), weight.data(), 1e-5F, 101, out.data());
  double squares = 0;
  for (const float value : x) squares += static_cast<double>(value) * value;
  for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(out[i], x[i] / std::sqrt(squares / 101 + 1e-5) * weight[i], 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Levels, Kernels, testing::Values(Level::kPortable, Level::kAvx2, Level::kAvx512),
                         [](const auto& level) {
                           return std::string("level") + std::to_string(static_cast<int>(level.param));
                         });

}  // namespace
}  // namespace slipway::kernels
