#include "agents/engine/runtime/thread_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>

namespace slipway::runtime {
namespace {

TEST(ThreadPoolJobs, ManyShortJobsOnMoreThreadsThanCores) {
  ThreadPool pool(9);
  std::vector<std::atomic<int>> runs(64);
  for (int job = 0; job < 5000; ++job) {
    const int64_t count = 2 + job % 63;
    pool.run(count, [&](int64_t index, int worker) {
      if (worker >= 0 && worker < 9) runs[static_cast<size_t>(index)].fetch_add(1, std::memory_order_relaxed);
    });
    // run() has returned: what its body wrote is here, and nothing of the job is left to run.
    for (int64_t index = 0; index < 64; ++index) {
      ASSERT_EQ(runs[static_cast<size_t>(index)].exchange(0), index < count ? 1 : 0) << job;
    }
  }
}

TEST(ThreadPoolJobs, MoreIndicesThanOneTicketHolds) {
  ThreadPool pool(2);
  constexpr int64_t kCount = (int64_t{1} << 21U) + 3;
  std::vector<uint8_t> seen(static_cast<size_t>(kCount));
  pool.run(kCount, [&](int64_t index, int) { ++seen[static_cast<size_t>(index)]; });
  EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), kCount);
}

}  // namespace
}  // namespace slipway::runtime
