#include "agents/engine/serve/model_pool.h"

#include <gtest/gtest.h>

#include <future>
#include <map>

#include "tests/unit/serve/fakes.h"

namespace slipway::serve {
namespace {

constexpr auto kLong = std::chrono::seconds(10);

// Three models of 10, 20 and 30 bytes; the test sees which are in memory.
class ModelPoolTest : public ::testing::Test {
 protected:
  void make(int64_t limit, std::chrono::milliseconds idle = std::chrono::milliseconds(0)) {
    pool_ = std::make_unique<ModelPool>(std::vector<PooledModel>{{"a", 10, 100}, {"b", 20, 100}, {"c", 30, 100}},
                                        PoolOptions{limit, idle}, [this](size_t index) {
                                          if (index == broken_) throw base::Error("INVALID_MODEL", "it is broken", "");
                                          return std::make_unique<LoadedModel>(std::make_unique<ByteTokenizer>(),
                                                                               std::make_unique<FakeGenerator>());
                                        });
  }
  // The model, once it is there; null when it failed.
  std::future<ModelLease> ask(size_t model) {
    auto promise = std::make_shared<std::promise<ModelLease>>();
    ticket_ = pool_->wait_for(
        model, [promise](ModelLease lease) { promise->set_value(std::move(lease)); },
        [promise](const base::Error&) { promise->set_value(nullptr); });
    return promise->get_future();
  }
  ModelLease get(size_t model) {
    auto future = ask(model);
    return future.wait_for(kLong) == std::future_status::ready ? future.get() : nullptr;
  }
  std::string loaded() const {
    std::string names;
    for (size_t i = 0; i < 3; ++i) names += pool_->stats(i).loaded ? pool_->models()[i].name : "";
    return names;
  }
  static bool waits(const std::future<ModelLease>& future) {
    return future.wait_for(std::chrono::milliseconds(50)) == std::future_status::timeout;
  }

  size_t broken_ = 99;
  uint64_t ticket_ = 0;
  std::unique_ptr<ModelPool> pool_;
};

TEST_F(ModelPoolTest, LoadsOnFirstUseAndKeepsWhatFits) {
  make(0);
  EXPECT_EQ(pool_->try_use(0), nullptr);
  EXPECT_NE(get(0), nullptr);
  EXPECT_NE(get(2), nullptr);
  EXPECT_NE(pool_->try_use(0), nullptr);
  EXPECT_EQ(loaded(), "ac");
  EXPECT_EQ(pool_->stats(0).loads, 1);
}

TEST_F(ModelPoolTest, DropsTheOneUnusedForLongest) {
  make(40);
  get(0), get(1);
  pool_->try_use(0);
  EXPECT_NE(get(2), nullptr);  // 30 beside 10: b goes
  EXPECT_EQ(loaded(), "ac");
  EXPECT_EQ(pool_->stats(1).drops, 1);
  EXPECT_NE(get(1), nullptr);  // 20: a is not enough, c goes too
  EXPECT_EQ(loaded(), "b");
}

TEST_F(ModelPoolTest, OneInUseStaysUntilItsLastUserHasGone) {
  make(40);
  ModelLease first = get(1);
  auto other = ask(2);
  EXPECT_TRUE(waits(other));
  EXPECT_EQ(pool_->try_use(1), nullptr);  // else the other would wait for ever
  auto again = ask(1);
  EXPECT_EQ(pool_->stats(1).engine.waiting, 1);
  first.reset();
  ModelLease second = other.get();
  EXPECT_NE(second, nullptr);
  EXPECT_EQ(loaded(), "c");
  second.reset();
  EXPECT_NE(again.get(), nullptr);
  EXPECT_EQ(loaded(), "b");
}

TEST_F(ModelPoolTest, WhoStopsWaitingKeepsNobodyOut) {
  make(40);
  const ModelLease first = get(1);
  auto other = ask(2);
  const uint64_t ticket = ticket_;
  EXPECT_TRUE(waits(other));
  auto again = ask(1);
  EXPECT_TRUE(pool_->cancel(ticket));
  EXPECT_FALSE(pool_->cancel(ticket));
  EXPECT_EQ(again.get(), first);
}

TEST_F(ModelPoolTest, AModelThatCannotBeLoadedIsToldToAllWhoWaitForIt) {
  broken_ = 0;
  make(0);
  EXPECT_EQ(get(0), nullptr);
  EXPECT_NE(get(1), nullptr);
  broken_ = 99;
  EXPECT_NE(get(0), nullptr);
}

TEST_F(ModelPoolTest, AModelAboveTheLimitIsRefusedAtOnce) { EXPECT_THROW(make(29), base::Error); }

TEST_F(ModelPoolTest, AnIdleModelIsDropped) {
  make(0, std::chrono::milliseconds(30));
  ModelLease lease = get(0);
  ModelLease kept = get(1);
  lease.reset();
  const auto deadline = std::chrono::steady_clock::now() + kLong;
  while (pool_->stats(0).loaded && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  EXPECT_EQ(loaded(), "b");
  EXPECT_NE(get(0), nullptr);
}

TEST_F(ModelPoolTest, TheEndOfThePoolEndsTheWait) {
  make(40);
  ModelLease first = get(1);
  auto other = ask(2);
  EXPECT_TRUE(waits(other));
  pool_.reset();
  EXPECT_EQ(other.get(), nullptr);
  first.reset();  // a lease may live longer
}

}  // namespace
}  // namespace slipway::serve
