#include "agents/engine/runtime/page_pool.h"

#include <gtest/gtest.h>

#include <numeric>

namespace slipway::runtime {
namespace {

std::vector<int32_t> page_of(int32_t first) {
  std::vector<int32_t> tokens(static_cast<size_t>(kernels::kPageTokens));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

class PagePoolTest : public testing::Test {
 protected:
  KvCache cache_{1, 1, 8, 3, kernels::CacheFormat::kF32};
  PagePool pool_{cache_, true};
};

TEST_F(PagePoolTest, AFullPageIsFoundByItsTokensAndWhatCameBefore) {
  const int32_t first = pool_.allocate(), second = pool_.allocate();
  EXPECT_EQ(pool_.enter(first, kBaseRoot, page_of(0)), first);
  EXPECT_EQ(pool_.enter(second, pool_.node(first), page_of(100)), second);
  EXPECT_EQ(pool_.peek(kBaseRoot, page_of(0)), first);
  EXPECT_EQ(pool_.peek(pool_.node(first), page_of(100)), second);
  EXPECT_EQ(pool_.peek(kBaseRoot, page_of(100)), -1);
  EXPECT_EQ(pool_.peek(kBaseRoot + 1, page_of(0)), -1);  // an adapter's
  EXPECT_EQ(pool_.peek(kBaseRoot, page_of(1)), -1);
}

TEST_F(PagePoolTest, WhatNobodyUsesCanBeFoundUntilItsPlaceIsNeeded) {
  const int32_t first = pool_.allocate(), second = pool_.allocate();
  pool_.enter(first, kBaseRoot, page_of(0));
  pool_.enter(second, pool_.node(first), page_of(100));
  pool_.release(second);
  pool_.release(first);
  EXPECT_EQ(pool_.available(), 3);
  EXPECT_EQ(pool_.find(kBaseRoot, page_of(0)), first);
  EXPECT_EQ(pool_.available(), 2);
  EXPECT_NE(pool_.allocate(), second);  // the free one
  EXPECT_EQ(pool_.allocate(), second);  // then the one unused for longest
  EXPECT_EQ(pool_.allocate(), -1);
  EXPECT_EQ(pool_.peek(pool_.node(first), page_of(100)), -1);
  EXPECT_EQ(pool_.peek(kBaseRoot, page_of(0)), first);
}

TEST_F(PagePoolTest, TheSamePageTwiceBecomesOne) {
  const int32_t first = pool_.allocate(), again = pool_.allocate();
  pool_.enter(first, kBaseRoot, page_of(0));
  EXPECT_EQ(pool_.enter(again, kBaseRoot, page_of(0)), first);
  EXPECT_EQ(pool_.available(), 2);
  pool_.release(first);
  EXPECT_TRUE(pool_.used(first));
  pool_.release(first);
  EXPECT_EQ(pool_.available(), 3);
}

TEST_F(PagePoolTest, WithoutSharingNothingIsFound) {
  PagePool pool(cache_, false);
  const int32_t page = pool.allocate();
  EXPECT_EQ(pool.enter(page, kBaseRoot, page_of(0)), page);
  EXPECT_EQ(pool.peek(kBaseRoot, page_of(0)), -1);
  pool.release(page);
  EXPECT_EQ(cache_.free_pages(), 3);
}

}  // namespace
}  // namespace slipway::runtime
