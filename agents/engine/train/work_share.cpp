#include "agents/engine/train/work_share.h"

#include <algorithm>

namespace slipway::train {

namespace {

// Pieces of one part of a micro-batch are never more than this.
constexpr size_t kPiecesPerPart = 4096;

}  // namespace

std::vector<WorkShare> work_of(const std::vector<std::vector<int64_t>>& micro_batches, int64_t rank, int64_t ranks,
                               bool divisible) {
  std::vector<WorkShare> all;
  const auto count = static_cast<int64_t>(micro_batches.size());
  const int64_t parts = divisible && count > 0 && count < ranks ? (ranks + count - 1) / count : 1;
  for (size_t i = 0; i < micro_batches.size(); ++i) {
    const std::vector<int64_t>& rows = micro_batches[i];
    const auto size = static_cast<int64_t>(rows.size());
    for (int64_t part = 0; part < parts; ++part) {
      const int64_t begin = size * part / parts, end = size * (part + 1) / parts;
      if (begin == end) continue;
      all.push_back({i, static_cast<size_t>(part) * kPiecesPerPart,
                     std::vector<int64_t>(rows.begin() + begin, rows.begin() + end)});
    }
  }
  std::vector<WorkShare> own;
  for (size_t i = static_cast<size_t>(rank); i < all.size(); i += static_cast<size_t>(ranks)) {
    own.push_back(std::move(all[i]));
  }
  return own;
}

}  // namespace slipway::train
