#include "agents/engine/runtime/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agents/engine/runtime/prompt_lookup.h"
#include "backend/base/files.h"
#include "tests/unit/runtime/tiny_model.h"

namespace slipway::runtime {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr int64_t kPage = kernels::kPageTokens;

std::vector<int32_t> tokens_of(int64_t count, int32_t first) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i) tokens.push_back(first + static_cast<int32_t>(i) % 50);
  return tokens;
}

class SchedulerTest : public testing::Test {
 protected:
  Sequence* add(std::vector<int32_t> tokens, int64_t priority = 0, std::shared_ptr<Adapter> adapter = nullptr) {
    auto sequence = std::make_unique<Sequence>();
    sequence->id = ++last_id_;
    sequence->prompt_tokens = static_cast<int64_t>(tokens.size());
    sequence->max_length = sequence->prompt_tokens + 100;
    sequence->tokens = std::move(tokens);
    sequence->request.priority = priority;
    sequence->adapter = std::move(adapter);
    Sequence* added = sequence.get();
    scheduler_->add(std::move(sequence));
    return added;
  }
  // Plans, and does as if the model had run: (id, tokens) of each.
  std::vector<std::pair<uint64_t, int64_t>> step() {
    std::vector<std::pair<uint64_t, int64_t>> done;
    for (const Work& work : scheduler_->plan()) {
      done.emplace_back(work.sequence->id, work.tokens);
      scheduler_->advance(*work.sequence, std::min(work.tokens, work.sequence->outstanding()));
      if (work.sequence->outstanding() == 0) work.sequence->tokens.push_back(7);
    }
    std::sort(done.begin(), done.end());
    return done;
  }
  void make(const SchedulerOptions& options, int64_t pages = 64) {
    cache_ = std::make_unique<KvCache>(1, 1, 8, pages, kernels::CacheFormat::kF32);
    pool_ = std::make_unique<PagePool>(*cache_, true);
    scheduler_ = std::make_unique<Scheduler>(*pool_, adapters_, options);
  }

  model::Architecture architecture_ = tiny_architecture();
  AdapterStore adapters_{architecture_, 1, 256, [] {}};
  std::unique_ptr<KvCache> cache_;
  std::unique_ptr<PagePool> pool_;
  std::unique_ptr<Scheduler> scheduler_;
  uint64_t last_id_ = 0;
};

using Pairs = std::vector<std::pair<uint64_t, int64_t>>;

TEST_F(SchedulerTest, ALongPromptComesInChunksBesideStreams) {
  SchedulerOptions options;
  options.prompt_tokens_alone = 100;
  options.prompt_tokens_beside = 20;
  make(options);
  add(tokens_of(5, 0));
  EXPECT_EQ(step(), (Pairs{{1, 5}}));
  add(tokens_of(50, 200));
  EXPECT_EQ(step(), (Pairs{{1, 1}, {2, 20}}));
  EXPECT_EQ(step(), (Pairs{{1, 1}, {2, 20}}));
  EXPECT_EQ(step(), (Pairs{{1, 1}, {2, 10}}));
  EXPECT_EQ(step(), (Pairs{{1, 1}, {2, 1}}));
}

TEST_F(SchedulerTest, TokensFarIntoALongPromptCountForMore) {
  SchedulerOptions options;
  options.prompt_tokens_alone = 1000;
  options.prompt_tokens_beside = 40;
  options.positions_per_token = 100;
  make(options, 200);
  add(tokens_of(5, 0));
  step();
  Sequence* prompt = add(tokens_of(2000, 300));
  int64_t before = 1000;
  while (prompt->outstanding() > 1) {
    const int64_t begin = prompt->computed;
    const int64_t tokens = step().back().second;
    // What they cost is within the budget, but for the last of them.
    int64_t cost = 0;
    for (int64_t i = 0; i + 1 < tokens; ++i) cost += 100 + begin + i;
    EXPECT_LT(cost, 40 * 100);
    EXPECT_LE(tokens, before);
    EXPECT_GE(tokens, 1);
    before = tokens;
  }
  EXPECT_LE(before, 3);
}

TEST_F(SchedulerTest, AShortPromptDoesNotWaitForTheWholeOfALongOne) {
  SchedulerOptions options;
  options.prompt_tokens_alone = 40;
  make(options);
  add(tokens_of(400, 0));
  add(tokens_of(12, 500));
  EXPECT_EQ(step(), (Pairs{{1, 30}, {2, 10}}));
  EXPECT_EQ(step(), (Pairs{{1, 38}, {2, 2}}));
}

TEST_F(SchedulerTest, ASharedBeginningIsComputedOnce) {
  SchedulerOptions options;
  options.prompt_tokens_alone = 2 * kPage;
  make(options);
  auto shared = tokens_of(4 * kPage, 0);
  for (int32_t i = 0; i < 3; ++i) {
    auto prompt = shared;
    prompt.insert(prompt.end(), {100 + i, 101 + i});
    add(std::move(prompt));
  }
  EXPECT_EQ(step(), (Pairs{{1, 2 * kPage}}));
  EXPECT_EQ(step(), (Pairs{{1, 2 * kPage}}));
  EXPECT_EQ(step(), (Pairs{{1, 2}, {2, 2}, {3, 2}}));
  EXPECT_EQ(scheduler_->counts().prefix_hits, 8 * kPage);
  EXPECT_EQ(scheduler_->used_pages(), 4 + 3);
  // Who comes later finds it too, also when all who used it have gone.
  for (const uint64_t id : {1, 2, 3}) scheduler_->remove(id);
  EXPECT_EQ(scheduler_->used_pages(), 0);
  add(shared);  // the last token is always computed
  EXPECT_EQ(step(), (Pairs{{4, kPage}}));
}

TEST_F(SchedulerTest, WhoNeedsEveryPositionTakesNothingFromOthers) {
  make({});
  const auto shared = tokens_of(4 * kPage, 0);
  add(shared);
  step();
  Sequence* scored = add(shared);
  scored->on_logits = [](int64_t, const float*) {};
  EXPECT_EQ(step(), (Pairs{{1, 1}, {2, 4 * kPage}}));
}

TEST_F(SchedulerTest, TheLowestPriorityValueGoesFirstAndTakesPlaces) {
  SchedulerOptions options;
  options.max_num_seqs = 1;
  make(options);
  add(tokens_of(3, 0), 1);
  EXPECT_EQ(step(), (Pairs{{1, 3}}));
  add(tokens_of(3, 10), 1);
  add(tokens_of(3, 20), 0);
  EXPECT_EQ(step(), (Pairs{{3, 3}}));
  EXPECT_EQ(scheduler_->counts().preemptions, 1);
  scheduler_->remove(3);
  EXPECT_EQ(step(), (Pairs{{1, 4}}));  // again from its first token
  scheduler_->remove(1);
  EXPECT_EQ(step(), (Pairs{{2, 3}}));
}

TEST_F(SchedulerTest, WhenPagesRunOutTheYoungestStartsAgain) {
  make({}, 4);
  add(tokens_of(2 * kPage - 1, 0));
  add(tokens_of(2 * kPage - 1, 100));
  EXPECT_EQ(step().size(), 2U);
  EXPECT_EQ(step(), (Pairs{{1, 1}, {2, 1}}));
  EXPECT_EQ(step(), (Pairs{{1, 1}}));  // its third page
  EXPECT_EQ(scheduler_->waiting(), 1);
  scheduler_->remove(1);
  // Its first page was still there.
  EXPECT_EQ(step(), (Pairs{{2, kPage + 1}}));
  scheduler_->remove(2);
  EXPECT_EQ(scheduler_->used_pages(), 0);
}

TEST_F(SchedulerTest, AnAdapterOnDiskHoldsUpNobodyElse) {
  base::TemporaryFolder folder;
  write_tiny_adapter(folder.path() / "a", 1);
  write_tiny_adapter(folder.path() / "b", 2);
  adapters_.add("a", folder.path() / "a", 0);
  adapters_.add("b", folder.path() / "b", 0);  // puts a out
  make({});
  add(tokens_of(3, 0), 0, adapters_.find("b"));
  EXPECT_EQ(step(), (Pairs{{1, 3}}));
  add(tokens_of(3, 0), 0, adapters_.find("a"));  // there is one place, and b is in use
  add(tokens_of(3, 0));
  EXPECT_EQ(step(), (Pairs{{1, 1}, {3, 3}}));
  scheduler_->remove(1);
  scheduler_->remove(3);
  Pairs done;
  while (done.empty()) done = step();
  EXPECT_EQ(done, (Pairs{{2, 3}}));
  EXPECT_EQ(adapters_.in_memory(), 1);
}

TEST_F(SchedulerTest, AnAdapterThatCannotBeReadAgainBreaksItsRequestsAlone) {
  base::TemporaryFolder folder;
  write_tiny_adapter(folder.path() / "a", 1);
  write_tiny_adapter(folder.path() / "b", 2);
  adapters_.add("a", folder.path() / "a", 0);
  adapters_.add("b", folder.path() / "b", 0);
  std::filesystem::remove_all(folder.path() / "a");
  make({});
  add(tokens_of(3, 0), 0, adapters_.find("a"));
  std::vector<std::pair<uint64_t, std::string>> broken;
  while (broken.empty()) {
    EXPECT_THAT(step(), IsEmpty());
    broken = scheduler_->take_broken();
  }
  EXPECT_EQ(broken[0].first, 1U);
  EXPECT_THAT(broken[0].second, testing::HasSubstr("'a'"));
}

TEST_F(SchedulerTest, GuessesComeWithPagesThatWrongOnesGiveBack) {
  SchedulerOptions options;
  options.speculative_tokens = 8;
  make(options);
  Sequence* sequence = add({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 1, 2});
  scheduler_->plan();
  scheduler_->advance(*sequence, 14);
  sequence->tokens.push_back(3);
  auto work = scheduler_->plan();
  ASSERT_EQ(work.size(), 1U);
  EXPECT_EQ(work[0].tokens, 9);
  EXPECT_THAT(sequence->draft, ElementsAre(4, 5, 6, 7, 8, 9, 10, 11));
  EXPECT_EQ(sequence->pages.size(), 2U);
  scheduler_->advance(*sequence, 1);
  sequence->tokens.push_back(99);
  scheduler_->settle_draft(*sequence, 0);
  EXPECT_EQ(sequence->pages.size(), 1U);
  EXPECT_EQ(sequence->draft_limit, 4);
  EXPECT_EQ(scheduler_->counts().draft_tokens, 8);
}

TEST(PromptLookup, TakesWhatFollowedTheLastSuchPlace) {
  const std::vector<int32_t> tokens = {1, 2, 3, 4, 9, 1, 2, 3, 5, 6, 1, 2, 3};
  EXPECT_THAT(look_up_continuation(tokens, 2), ElementsAre(5, 6));
  EXPECT_THAT(look_up_continuation(tokens, 9), ElementsAre(5, 6, 1, 2, 3, 5, 6, 1, 2));
  EXPECT_THAT(look_up_continuation(std::vector<int32_t>{8, 2, 3, 4, 2, 3}, 1), ElementsAre(4));  // two tokens
  EXPECT_THAT(look_up_continuation(std::vector<int32_t>{1, 2, 3, 4}, 4), IsEmpty());
  EXPECT_THAT(look_up_continuation(tokens, 0), IsEmpty());
  EXPECT_THAT(look_up_continuation(std::vector<int32_t>{7}, 4), IsEmpty());
  EXPECT_THAT(look_up_continuation(std::vector<int32_t>{7, 7, 7}, 4), ElementsAre(7, 7, 7, 7));
}

}  // namespace
}  // namespace slipway::runtime
