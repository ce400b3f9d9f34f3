// Work that threads take from one another.
#include "agents/engine/train/decoder/share_out.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace slipway::train {
namespace {

TEST(ShareOut, EachItemIsTakenOnceHoweverSlowOneThreadIs) {
  for (const int64_t count : {0, 1, 3, 64, 1001}) {
    std::vector<std::atomic<int>> taken(static_cast<size_t>(count));
    share_out(count, 7, 2, [&](int64_t begin, int64_t end) {
      if (begin < 20) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      for (int64_t i = begin; i < end; ++i) ++taken[static_cast<size_t>(i)];
    });
    for (const std::atomic<int>& times : taken) EXPECT_EQ(times, 1);
  }
}

TEST(ShareOut, AnotherTakesHalfOfWhatIsLeftButNotLessThanTheLeast) {
  SharedRange range;
  range.assign(10, 30);
  EXPECT_EQ(range.take(4, 1).end, 14);
  const Piece half = range.take_over(8);
  EXPECT_EQ(half.begin, 22);
  EXPECT_EQ(half.end, 30);
  const Piece none = range.take_over(5);
  EXPECT_EQ(none.begin, none.end);
  EXPECT_EQ(range.take(100, 3).end, 18);  // half, so that something is left for others
  EXPECT_EQ(range.take(100, 3).end, 21);  // no less than the least
  EXPECT_EQ(range.take(100, 3).end, 22);
  EXPECT_EQ(range.take(1, 1).begin, range.take(1, 1).end);
}

}  // namespace
}  // namespace slipway::train
