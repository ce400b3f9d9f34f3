#include <algorithm>
#include <cmath>
#include <cstring>

#include "tests/unit/kernels/levels.h"

namespace slipway::kernels {
namespace {

constexpr WeightFormat kFormats[] = {WeightFormat::kF32,  WeightFormat::kBF16, WeightFormat::kBF12,
                                     WeightFormat::kInt8, WeightFormat::kInt6, WeightFormat::kInt4};

bool keeps(WeightFormat format, int64_t depth) { return format != WeightFormat::kBF12 || depth % kBf12Step == 0; }

float bf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  bits = (bits + 0x7fffU + ((bits >> 16U) & 1U)) & 0xffff0000U;
  std::memcpy(&value, &bits, sizeof bits);
  return value;
}

// The numbers that a packed row of x stands for.
std::vector<float> unpack_row(WeightFormat format, const std::vector<float>& x, const void* packed) {
  std::vector<float> values = x;
  if (format == WeightFormat::kBF16 || format == WeightFormat::kBF12) {
    for (float& value : values) value = bf16(value);
  } else if (format != WeightFormat::kF32) {
    const auto* bytes = static_cast<const int8_t*>(packed);
    const auto* scales =
        reinterpret_cast<const BlockScale*>(bytes + padded_depth(format, static_cast<int64_t>(x.size())));
    for (size_t k = 0; k < x.size(); ++k) {
      values[k] = static_cast<float>(bytes[k]) * scales[k / static_cast<size_t>(block_of(format))].scale;
    }
  }
  return values;
}

// A product with random operands, packed by one table and multiplied by it.
class Product {
 public:
  // weights [columns, depth]; empty: random ones.
  Product(const Table& table, WeightFormat format, int64_t rows, int64_t columns, int64_t depth,
          std::vector<float> weights = {})
      : table_(table),
        format_(format),
        rows_(rows),
        columns_(columns),
        depth_(depth),
        panels_((columns + kPanel - 1) / kPanel),
        bias_(random_values(static_cast<size_t>(columns), 1, 3)),
        x_stride_(activation_bytes(format, depth)),
        x_(rows * x_stride_),
        w_(panels_ * panel_bytes(format, depth)),
        scratch_(matmul_scratch_bytes(format, depth)) {
    for (int64_t row = 0; row < rows; ++row) {
      const auto values = random_values(static_cast<size_t>(depth), 1, 100 + static_cast<uint32_t>(row));
      if (format == WeightFormat::kF32) {
        std::copy(values.begin(), values.end(), x_row<float>(row));
      } else {
        // In two parts where the format allows it.
        const int64_t cut = depth / 2 / block_of(format) * block_of(format);
        table.pack_row({format, values.data(), 0, cut, depth, x_row<std::byte>(row)});
        table.pack_row({format, values.data() + cut, cut, depth - cut, depth, x_row<std::byte>(row)});
      }
      x_values_.push_back(unpack_row(format, values, x_row<std::byte>(row)));
      original_x_.push_back(values);
    }
    original_w_ = weights.empty() ? random_values(static_cast<size_t>(columns * depth), 1, 2) : std::move(weights);
    w_values_.resize(original_w_.size());
    for (int64_t panel = 0; panel < panels_; ++panel) {
      const int64_t first = panel * kPanel, count = std::min(kPanel, columns - first);
      const float* values = original_w_.data() + first * depth;
      std::byte* out = w_.data<std::byte>() + panel * panel_bytes(format, depth);
      if (format == WeightFormat::kF32) {
        std::copy(values, values + count * depth, reinterpret_cast<float*>(out));
        std::copy(values, values + count * depth, w_values_.data() + first * depth);
      } else {
        packed_ = table.pack_panel(format, values, count, depth, out) && packed_;
        for (int64_t lane = 0; lane < count; ++lane) {
          unpack_column(format, out, lane, depth, w_values_.data() + (first + lane) * depth);
        }
      }
    }
  }

  // Whether the format can hold the weights.
  bool packed() const { return packed_; }
  const std::vector<float>& weights() const { return w_values_; }

  // In pieces of `panels` panels and `block` rows.
  std::vector<float> run(int64_t block, int64_t panels) {
    std::vector<float> y(static_cast<size_t>(rows_ * columns_), 0.5F);
    for (int64_t row = 0; row < rows_; row += block) {
      for (int64_t panel = 0; panel < panels_; panel += panels) {
        MatmulCall call;
        call.x = x_row<std::byte>(row);
        call.x_stride = x_stride_;
        call.rows = std::min(block, rows_ - row);
        call.weights = w_.data<void>();
        call.format = format_;
        call.depth = depth_;
        call.begin = panel * kPanel;
        call.end = std::min(columns_, (panel + panels) * kPanel);
        call.bias = bias_.data();
        call.y = y.data() + row * columns_;
        call.y_stride = columns_;
        call.accumulate = true;
        call.scratch = scratch_.data<void>();
        table_.matmul(call);
      }
    }
    return y;
  }

  // Of the numbers as they were packed.
  double expected(int64_t row, int64_t column) const {
    double sum = 0.5 + bias_[static_cast<size_t>(column)];
    for (int64_t k = 0; k < depth_; ++k) {
      sum += static_cast<double>(x_values_[static_cast<size_t>(row)][static_cast<size_t>(k)]) *
             w_values_[static_cast<size_t>(column * depth_ + k)];
    }
    return sum;
  }

  // Root mean square of what packing changed, relative to the weights' own deviation of 1.
  double weight_error() const {
    double sum = 0;
    for (size_t i = 0; i < w_values_.size(); ++i) sum += std::pow(w_values_[i] - original_w_[i], 2);
    return std::sqrt(sum / static_cast<double>(w_values_.size()));
  }
  double row_error() const {
    double sum = 0;
    for (size_t i = 0; i < x_values_.size(); ++i) {
      for (size_t k = 0; k < x_values_[i].size(); ++k) sum += std::pow(x_values_[i][k] - original_x_[i][k], 2);
    }
    return std::sqrt(sum / static_cast<double>(rows_ * depth_));
  }

 private:
  template <typename T>
  T* x_row(int64_t row) {
    return reinterpret_cast<T*>(x_.data<std::byte>() + row * x_stride_);
  }

  const Table& table_;
  WeightFormat format_;
  int64_t rows_, columns_, depth_, panels_;
  std::vector<float> bias_;
  int64_t x_stride_;
  bool packed_ = true;
  Aligned x_, w_, scratch_;
  std::vector<std::vector<float>> x_values_, original_x_;
  std::vector<float> w_values_, original_w_;
};

struct Shape {
  int64_t rows, columns, depth;
};
constexpr Shape kShapes[] = {{1, 37, 100},  {13, 29, 67}, {9, 8, 5},    {70, 16, 1100},
                             {17, 80, 576}, {6, 33, 1},   {14, 37, 72}, {3, 16, 8}};

TEST_P(Kernels, ProductIsRightAndTheSameBitsHoweverItIsCut) {
  for (const auto& [rows, columns, depth] : kShapes) {
    for (const auto format : kFormats) {
      if (!keeps(format, depth)) continue;
      Product product(*table_, format, rows, columns, depth);
      ASSERT_TRUE(product.packed());
      const auto whole = product.run(rows, columns);
      for (int64_t i = 0; i < rows; ++i) {
        for (int64_t j = 0; j < columns; ++j) {
          ASSERT_NEAR(whole[static_cast<size_t>(i * columns + j)], product.expected(i, j), 3e-4)
              << table_->name << " format " << static_cast<int>(format) << " at " << i << " " << j;
        }
      }
      for (const auto& [block, panels] : {std::pair<int64_t, int64_t>{1, columns}, {1, 1}, {2, 3}, {5, 1}, {rows, 1}}) {
        ASSERT_EQ(product.run(block, panels), whole) << table_->name << " " << block << " " << panels;
      }
    }
  }
}

TEST_P(Kernels, PackingLosesNoMoreThanItsFormatMust) {
  // Of normally distributed numbers: half a step over √3, where a step is the range over the steps of the format.
  for (const auto& [format, weights, rows] : {std::tuple{WeightFormat::kBF16, 2e-3, 2e-3},
                                              {WeightFormat::kBF12, 2e-3, 2e-3},
                                              {WeightFormat::kInt8, 1e-2, 7e-3},
                                              {WeightFormat::kInt6, 3e-2, 7e-3},
                                              {WeightFormat::kInt4, 9e-2, 7e-3}}) {
    const Product product(*table_, format, 8, 64, 576);
    EXPECT_LT(product.weight_error(), weights) << static_cast<int>(format);
    EXPECT_LT(product.row_error(), rows) << static_cast<int>(format);
    EXPECT_GT(product.weight_error(), 0);
  }
}

// Weights of all kinds that a file of bf16 may hold, but for those that are not finite: normal ones, and some that are
// zero of either sign, subnormal, or of exponents far below the column's largest; a column of zeros and one of
// subnormals.
std::vector<float> unusual_weights(int64_t columns, int64_t depth) {
  auto weights = random_values(static_cast<size_t>(columns * depth), 1, 5);
  const float kinds[] = {0.0F, -0.0F, 1e-39F, -9e-41F, 1e-9F, -3e-20F, 1.2e-38F, std::ldexp(1.0F, -14)};
  for (size_t i = 0; i < weights.size(); i += 997) weights[i] = kinds[i / 997 % std::size(kinds)];
  std::fill_n(weights.begin(), depth, 0.0F);
  for (int64_t k = 0; k < depth; ++k) weights[static_cast<size_t>(depth + k)] *= 1e-39F;
  for (int64_t k = 0; k < depth; ++k) weights[static_cast<size_t>(2 * depth + k)] *= 1e30F;
  return weights;
}

TEST_P(Kernels, TwelveBitsGiveTheBitsOfSixteen) {
  for (const auto& [rows, columns, depth] : {Shape{1, 37, 1536}, {5, 64, 576}, {6, 24, 1160}, {40, 50, 584}}) {
    const auto weights = unusual_weights(columns, depth);
    Product sixteen(*table_, WeightFormat::kBF16, rows, columns, depth, weights);
    Product twelve(*table_, WeightFormat::kBF12, rows, columns, depth, weights);
    ASSERT_TRUE(twelve.packed());
    EXPECT_EQ(0, std::memcmp(twelve.weights().data(), sixteen.weights().data(), weights.size() * sizeof(float)));
    const auto got = twelve.run(rows, columns), wanted = sixteen.run(rows, columns);
    EXPECT_EQ(0, std::memcmp(got.data(), wanted.data(), got.size() * sizeof(float))) << table_->name;
  }
}

TEST_P(Kernels, TwelveBitsRefuseWhatTheyCannotHold) {
  const auto holds = [&](const auto& change) {
    auto weights = random_values(kPanel * 576, 1, 2);
    change(weights);
    return Product(*table_, WeightFormat::kBF12, 1, kPanel, 576, weights).packed();
  };
  EXPECT_TRUE(holds([](auto&) {}));
  EXPECT_FALSE(holds([](auto& weights) { weights[3] = 1e30F; }));
  EXPECT_FALSE(holds([](auto& weights) { weights[700] = INFINITY; }));
  EXPECT_FALSE(holds([](auto& weights) { weights[0] = NAN; }));
  EXPECT_FALSE(holds([](auto& weights) {
    for (size_t i = 0; i < weights.size(); i += 100) weights[i] = 1e-20F;
  }));
}

TEST_P(Kernels, FourBitsKeepWhatAFileOfFourBitsHolds) {
  // Blocks on a grid of 16 values with a zero point off the grid, as Q4_1 stores them.
  std::vector<float> row(64), back(64);
  for (size_t i = 0; i < row.size(); ++i) row[i] = 0.25F * static_cast<float>((i * 7) % 16) - 1.40625F;
  Aligned panel(panel_bytes(WeightFormat::kInt4, 64));
  table_->pack_panel(WeightFormat::kInt4, row.data(), 1, 64, panel.data<void>());
  unpack_column(WeightFormat::kInt4, panel.data<void>(), 0, 64, back.data());
  for (size_t i = 0; i < row.size(); ++i) EXPECT_NEAR(back[i], row[i], 0.25 / 16 + 1e-6);
}

TEST_P(Kernels, SixBitsKeepAllTheirValues) {
  // Each of the 63 in every place of a line and of what it shares, in four blocks and a part of a fifth.
  constexpr int64_t kDepth = 150;
  std::vector<float> rows(kPanel * kDepth), back(kDepth);
  for (int64_t row = 0; row < kPanel; ++row) {
    for (int64_t k = 0; k < kDepth; ++k) {
      const int64_t q = k % kInt6Block == 0 ? 31 : (5 * row + k) % 63 - 31;
      rows[static_cast<size_t>(row * kDepth + k)] = 0.25F * static_cast<float>(q);
    }
  }
  Aligned panel(panel_bytes(WeightFormat::kInt6, kDepth));
  table_->pack_panel(WeightFormat::kInt6, rows.data(), kPanel, kDepth, panel.data<void>());
  for (int64_t row = 0; row < kPanel; ++row) {
    unpack_column(WeightFormat::kInt6, panel.data<void>(), row, kDepth, back.data());
    for (int64_t k = 0; k < kDepth; ++k)
      ASSERT_EQ(back[static_cast<size_t>(k)], rows[static_cast<size_t>(row * kDepth + k)]);
  }
}

TEST_P(Kernels, LevelsPackAlikeAndAgreeWithThePortableOne) {
  const Table& portable = *table(Level::kPortable);
  for (const auto& [rows, columns, depth] : kShapes) {
    for (const auto format : kFormats) {
      if (!keeps(format, depth)) continue;
      const auto got = Product(*table_, format, rows, columns, depth).run(rows, columns);
      const auto wanted = Product(portable, format, rows, columns, depth).run(rows, columns);
      for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], wanted[i], 3e-4) << table_->name;
    }
  }
}

TEST_P(Kernels, WhatIsNotANumberComesThrough) {
  for (const auto format : kFormats) {
    if (format == WeightFormat::kF32 || !keeps(format, 70)) continue;
    std::vector<float> x(70, 0.5F), w(70, 0.25F);
    x[66] = NAN;
    Aligned packed(activation_bytes(format, 70)), panel(panel_bytes(format, 70));
    table_->pack_row({format, x.data(), 0, 70, 70, packed.data<void>()});
    table_->pack_panel(format, w.data(), 1, 70, panel.data<void>());
    float y = 0;
    MatmulCall call;
    call.x = packed.data<void>();
    call.x_stride = activation_bytes(format, 70);
    call.rows = 1;
    call.weights = panel.data<void>();
    call.format = format;
    call.depth = 70;
    call.end = 1;
    call.y = &y;
    call.y_stride = 1;
    table_->matmul(call);
    EXPECT_TRUE(std::isnan(y)) << table_->name << " format " << static_cast<int>(format);
  }
}

}  // namespace
}  // namespace slipway::kernels
