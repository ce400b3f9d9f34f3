#include "agents/engine/train/work_share.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

namespace slipway::train {
namespace {

using MicroBatches = std::vector<std::vector<int64_t>>;

TEST(WorkShare, EveryRowIsComputedByOneRank) {
  const MicroBatches micro_batches{{3, 1, 4}, {15, 9, 2}, {6, 5}};
  for (int64_t ranks = 1; ranks <= 9; ++ranks) {
    for (const bool divisible : {false, true}) {
      std::vector<int64_t> rows;
      for (int64_t rank = 0; rank < ranks; ++rank) {
        for (const WorkShare& share : work_of(micro_batches, rank, ranks, divisible)) {
          rows.insert(rows.end(), share.rows.begin(), share.rows.end());
          for (const int64_t row : share.rows) {
            const auto& micro_batch = micro_batches[share.micro_batch];
            EXPECT_NE(std::find(micro_batch.begin(), micro_batch.end(), row), micro_batch.end());
          }
        }
      }
      std::sort(rows.begin(), rows.end());
      EXPECT_EQ(rows, (std::vector<int64_t>{1, 2, 3, 4, 5, 6, 9, 15}));
    }
  }
}

TEST(WorkShare, WholeMicroBatchesGoRound) {
  const MicroBatches micro_batches{{0}, {1}, {2}, {3}, {4}};
  const auto second = work_of(micro_batches, 1, 2, true);
  ASSERT_EQ(second.size(), 2U);
  EXPECT_EQ(second[0].micro_batch, 1U);
  EXPECT_EQ(second[1].micro_batch, 3U);
}

TEST(WorkShare, FewMicroBatchesAreDividedSoThatEveryRankWorks) {
  const MicroBatches micro_batches{{0, 1, 2, 3}};
  for (int64_t rank = 0; rank < 4; ++rank) EXPECT_EQ(work_of(micro_batches, rank, 4, true).size(), 1U);
  EXPECT_EQ(work_of(micro_batches, 0, 4, false).size(), 1U);
  EXPECT_TRUE(work_of(micro_batches, 1, 4, false).empty());
}

}  // namespace
}  // namespace slipway::train
