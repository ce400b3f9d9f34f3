#include "backend/domain/thin.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace slipway::domain {

std::vector<size_t> thin(const std::vector<XY>& points, size_t max_points) {
  max_points = std::max<size_t>(max_points, 3);
  if (points.size() <= max_points) {
    std::vector<size_t> all(points.size());
    std::iota(all.begin(), all.end(), size_t{0});
    return all;
  }
  std::vector<size_t> kept{0};
  kept.reserve(max_points);
  // The points between first and last, in max_points - 2 buckets of equal count.
  const size_t buckets = max_points - 2;
  const size_t inner = points.size() - 2;
  const auto begin_of = [&](size_t bucket) { return 1 + inner * bucket / buckets; };
  for (size_t bucket = 0; bucket < buckets; ++bucket) {
    const size_t begin = begin_of(bucket), end = begin_of(bucket + 1);
    // The mean of the next bucket; of the last point after the last bucket.
    const size_t next_begin = end, next_end = bucket + 1 < buckets ? begin_of(bucket + 2) : points.size();
    XY mean;
    for (size_t i = next_begin; i < next_end; ++i) {
      mean.x += points[i].x;
      mean.y += points[i].y;
    }
    mean.x /= static_cast<double>(next_end - next_begin);
    mean.y /= static_cast<double>(next_end - next_begin);
    const XY& before = points[kept.back()];
    size_t best = begin;
    double best_area = -1;
    for (size_t i = begin; i < end; ++i) {
      const double area =
          std::abs((before.x - mean.x) * (points[i].y - before.y) - (before.x - points[i].x) * (mean.y - before.y));
      if (area > best_area) {
        best_area = area;
        best = i;
      }
    }
    kept.push_back(best);
  }
  kept.push_back(points.size() - 1);
  return kept;
}

}  // namespace slipway::domain
