#include "agents/engine/train/parallel/rank_environment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backend/base/error.h"

namespace slipway::train {
namespace {

using testing::HasSubstr;

TEST(RankEnvironment, EachRankOfAMachineHasAGpuOfItsOwn) {
  RankEnvironment rank;
  rank.rank = 5;
  rank.local_rank = 1;
  EXPECT_EQ(gpu_of(rank, 2), 1);
  rank.local_rank = 2;
  try {
    gpu_of(rank, 2);
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_EQ(error.code(), base::kInvalidSpec);
    EXPECT_THAT(error.what(), HasSubstr("rank 5 (LOCAL_RANK 2) has no GPU of its own: this machine shows 2 GPUs"));
    EXPECT_THAT(error.advice(), HasSubstr("at most 2 ranks"));
  }
}

}  // namespace
}  // namespace slipway::train
