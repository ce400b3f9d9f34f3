#include "agents/engine/train/parallel/ring.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <functional>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

namespace slipway::train {
namespace {

// Runs use(ring, rank) on `size` connected ranks, each on a thread of its own.
void on_ranks(
    int64_t size, const std::function<void(Ring&, int64_t)>& use, const WhileWaiting& waiting = [] {}) {
  std::vector<Ring> rings;
  std::vector<Socket> next(static_cast<size_t>(size)), previous(static_cast<size_t>(size));
  for (int64_t rank = 0; rank < size; ++rank) {
    std::array<int, 2> ends{};
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends.data()), 0);
    next[static_cast<size_t>(rank)] = Socket(ends[0]);
    previous[static_cast<size_t>((rank + 1) % size)] = Socket(ends[1]);
  }
  for (int64_t rank = 0; rank < size; ++rank) {
    const auto i = static_cast<size_t>(rank);
    rings.emplace_back(rank, size, std::move(next[i]), std::move(previous[i]), waiting);
  }
  std::vector<std::thread> threads;
  for (int64_t rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] { use(rings[static_cast<size_t>(rank)], rank); });
  }
  for (std::thread& thread : threads) thread.join();
}

class RingOf : public testing::TestWithParam<int64_t> {};
INSTANTIATE_TEST_SUITE_P(Sizes, RingOf, testing::Values(2, 3, 5));

TEST_P(RingOf, AllReduceGivesEveryRankTheSameSums) {
  const int64_t size = GetParam();
  for (const size_t count : {size_t{1}, size_t{2}, size_t{1000}, size_t{300001}}) {
    std::vector<std::vector<float>> values(static_cast<size_t>(size), std::vector<float>(count));
    for (size_t rank = 0; rank < values.size(); ++rank) {
      std::iota(values[rank].begin(), values[rank].end(), static_cast<float>(rank) / 3.0F);
    }
    std::vector<double> expected(count);
    for (const auto& of_rank : values) {
      for (size_t i = 0; i < count; ++i) expected[i] += of_rank[i];
    }
    on_ranks(size, [&](Ring& ring, int64_t rank) { ring.all_reduce(std::span(values[static_cast<size_t>(rank)])); });
    for (const auto& of_rank : values) EXPECT_EQ(of_rank, values.front());
    for (size_t i = 0; i < count; i += 997) EXPECT_NEAR(values.front()[i], expected[i], 1e-6 * expected[i] + 1e-6);
  }
}

TEST_P(RingOf, ReduceScatterAndAllGatherMakeAnAllReduce) {
  const int64_t size = GetParam();
  const size_t part = 700;
  on_ranks(size, [&](Ring& ring, int64_t rank) {
    std::vector<float> values(part * static_cast<size_t>(size));
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(rank + 1) * static_cast<float>(i % 100);
    ring.reduce_scatter(values);
    const float all = static_cast<float>(size * (size + 1) / 2);
    for (size_t i = part * static_cast<size_t>(rank); i < part * static_cast<size_t>(rank + 1); ++i) {
      ASSERT_EQ(values[i], all * static_cast<float>(i % 100));
    }
    ring.all_gather(std::as_writable_bytes(std::span(values)));
    for (size_t i = 0; i < values.size(); ++i) ASSERT_EQ(values[i], all * static_cast<float>(i % 100));
  });
}

TEST_P(RingOf, BroadcastReachesEveryRank) {
  std::vector<std::byte> sent(3'000'001);
  for (size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<std::byte>(i * 7);
  on_ranks(GetParam(), [&](Ring& ring, int64_t rank) {
    std::vector<std::byte> data = rank == 0 ? sent : std::vector<std::byte>(sent.size());
    ring.broadcast(data);
    EXPECT_EQ(data, sent);
  });
}

TEST(Ring, ALostNeighbourEndsTheWaiting) {
  std::array<bool, 3> closed{};
  on_ranks(3, [&](Ring& ring, int64_t rank) {
    if (rank == 1) {
      Ring gone = std::move(ring);  // its sockets close
      return;
    }
    std::vector<float> values(100000);
    try {
      for (;;) ring.all_reduce(std::span(values));
    } catch (const ConnectionClosed&) {
      closed[static_cast<size_t>(rank)] = true;
      Ring gone = std::move(ring);
    }
  });
  EXPECT_TRUE(closed[0] && closed[2]);
}

TEST(Ring, WhoeverWaitsMayBeCalledOff) {
  on_ranks(
      2,
      [&](Ring& ring, int64_t rank) {
        std::vector<float> values(10);
        if (rank == 0) {
          EXPECT_THROW(ring.all_reduce(std::span(values)), std::runtime_error);
        }
      },
      [] { throw std::runtime_error("a rank has fallen silent"); });
}

}  // namespace
}  // namespace slipway::train
