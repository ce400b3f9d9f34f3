// Thins a series of points for a chart by largest triangle, three buckets (Steinarsson 2013): keeps the first, the
// last, and from each bucket between the point that makes the largest triangle with its neighbours.
#pragma once

#include <cstddef>
#include <vector>

namespace slipway::domain {

struct XY {
  double x = 0;
  double y = 0;
};

// Indices of the kept points, rising; all of them when there are no more than max_points (at least 3).
std::vector<size_t> thin(const std::vector<XY>& points, size_t max_points);

}  // namespace slipway::domain
