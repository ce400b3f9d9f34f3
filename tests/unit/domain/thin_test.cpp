#include "backend/domain/thin.h"

#include <gtest/gtest.h>

#include <cmath>

namespace slipway::domain {
namespace {

TEST(Thin, KeepsAllWhenThereAreFew) {
  EXPECT_EQ(thin({{0, 1}, {1, 2}, {2, 3}}, 3), (std::vector<size_t>{0, 1, 2}));
  EXPECT_TRUE(thin({}, 2000).empty());
}

TEST(Thin, KeepsEndsPeaksAndTheAskedCount) {
  std::vector<XY> points;
  for (int i = 0; i < 100'000; ++i) points.push_back({static_cast<double>(i), std::sin(i * 0.001)});
  points[54'321].y = 50;
  const auto kept = thin(points, 2000);
  EXPECT_EQ(kept.size(), 2000U);
  EXPECT_EQ(kept.front(), 0U);
  EXPECT_EQ(kept.back(), points.size() - 1);
  EXPECT_TRUE(std::is_sorted(kept.begin(), kept.end()));
  EXPECT_TRUE(std::adjacent_find(kept.begin(), kept.end()) == kept.end());
  EXPECT_TRUE(std::binary_search(kept.begin(), kept.end(), size_t{54'321}));
}

TEST(Thin, WorksForEverySizeJustAboveTheLimit) {
  for (size_t count = 4; count < 60; ++count) {
    for (size_t limit = 3; limit < count; ++limit) {
      std::vector<XY> points(count);
      for (size_t i = 0; i < count; ++i) points[i] = {static_cast<double>(i), static_cast<double>(i * i % 7)};
      const auto kept = thin(points, limit);
      ASSERT_EQ(kept.size(), limit);
      ASSERT_TRUE(std::adjacent_find(kept.begin(), kept.end(), std::greater_equal<>()) == kept.end());
    }
  }
}

}  // namespace
}  // namespace slipway::domain
