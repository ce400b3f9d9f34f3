#include "agents/engine/train/data/packing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "agents/engine/train/data/random.h"
#include "agents/engine/train/data/row_blocks.h"

namespace slipway::train {
namespace {

using testing::ElementsAre;

Documents documents_of(const std::vector<int>& lengths) {
  Documents documents;
  int32_t token = 0;
  for (const int length : lengths) {
    std::vector<int32_t> tokens;
    for (int i = 0; i < length; ++i) tokens.push_back(token++);
    documents.add(tokens, std::vector<uint8_t>(tokens.size(), 1));
  }
  return documents;
}

std::vector<int64_t> all(const Documents& documents) {
  std::vector<int64_t> indices(static_cast<size_t>(documents.count()));
  std::iota(indices.begin(), indices.end(), 0);
  return indices;
}

std::vector<Row> rows_of(const Documents& documents, bool packing, int64_t max_length) {
  return make_rows(documents, all(documents), packing, max_length);
}

TEST(Packing, WithoutItEachDocumentIsARow) {
  EXPECT_THAT(rows_of(documents_of({3, 5, 2}), false, 8), ElementsAre(ElementsAre(0), ElementsAre(1), ElementsAre(2)));
}

TEST(Packing, BestFitDecreasingFillsRowsAndKeepsDocumentsWhole) {
  // 7 alone leaves 1; 5 and 3 fill a row; 4 and 2 leave 2.
  EXPECT_THAT(rows_of(documents_of({3, 5, 2, 4, 7}), true, 8),
              ElementsAre(ElementsAre(4), ElementsAre(1, 0), ElementsAre(3, 2)));
}

TEST(Packing, EveryDocumentIsInExactlyOneRowAndNoRowIsTooLong) {
  Random random(5);
  std::vector<int> lengths;
  for (int i = 0; i < 500; ++i) lengths.push_back(1 + static_cast<int>(random.below(64)));
  const Documents documents = documents_of(lengths);
  const std::vector<Row> rows = rows_of(documents, true, 64);
  std::map<int64_t, int> seen;
  for (const Row& row : rows) {
    int64_t length = 0;
    for (const int64_t document : row) {
      ++seen[document];
      length += documents.length(document);
    }
    EXPECT_LE(length, 64);
  }
  EXPECT_EQ(seen.size(), 500U);
  for (const auto& [document, count] : seen) EXPECT_EQ(count, 1) << document;
  EXPECT_LT(static_cast<double>(rows.size()) * 64, 1.05 * std::accumulate(lengths.begin(), lengths.end(), 0.0));
}

TEST(Batch, PositionsRestartAndTargetsStayInsideTheirDocument) {
  Documents documents;
  documents.add(std::vector<int32_t>{10, 11, 12}, std::vector<uint8_t>{1, 0, 1});
  documents.add(std::vector<int32_t>{20, 21}, std::vector<uint8_t>{1, 1});
  const std::vector<Row> rows{{0, 1}};
  const Batch batch = make_batch(documents, rows);
  EXPECT_THAT(batch.tokens, ElementsAre(10, 11, 12, 20, 21));
  EXPECT_THAT(batch.positions, ElementsAre(0, 1, 2, 0, 1));
  EXPECT_THAT(batch.document_starts, ElementsAre(0, 3, 5));
  // A document's first token is never a target, whatever stands before it.
  EXPECT_THAT(batch.target_rows, ElementsAre(1, 3));
  EXPECT_THAT(batch.targets, ElementsAre(12, 21));
}

TEST(Packing, VirtualTokensBeginEachDocumentAndPredictItsFirst) {
  Documents documents;
  documents.add(std::vector<int32_t>{10, 11}, std::vector<uint8_t>{1, 1});
  documents.add(std::vector<int32_t>{20, 21}, std::vector<uint8_t>{0, 1});
  // A row has room for four tokens and two virtual ones, so two documents of two tokens need two rows.
  EXPECT_THAT(make_rows(documents, all(documents), true, 4, 2), testing::SizeIs(2));
  EXPECT_THAT(make_rows(documents, all(documents), true, 4, 0), testing::SizeIs(1));
  const std::vector<Row> rows{{0, 1}};
  const Batch batch = make_batch(documents, rows, {{}, 2});
  EXPECT_THAT(batch.tokens, ElementsAre(0, 0, 10, 11, 0, 0, 20, 21));
  EXPECT_THAT(batch.positions, ElementsAre(0, 1, 2, 3, 0, 1, 2, 3));
  EXPECT_THAT(batch.document_starts, ElementsAre(0, 4, 8));
  EXPECT_THAT(batch.target_rows, ElementsAre(1, 2, 6));
  EXPECT_THAT(batch.targets, ElementsAre(10, 11, 21));
  EXPECT_EQ(documents.targets(0, true), 2);
  EXPECT_EQ(documents.targets(0, false), 1);
}

TEST(Packing, ScoresAreReadAtTheLastTokenThatIsNoPadding) {
  Documents documents;
  documents.add(std::vector<int32_t>{10, 2, 11, 2, 2}, std::vector<uint8_t>(5, 1));
  documents.add(std::vector<int32_t>{20, 21}, std::vector<uint8_t>(2, 1));
  documents.add(std::vector<int32_t>{2, 2}, std::vector<uint8_t>(2, 1));
  const std::vector<Row> rows{{0, 1}, {2}};
  EXPECT_THAT(make_scored_batch(documents, rows, 2).target_rows, ElementsAre(2, 6, 7));
  EXPECT_THAT(make_scored_batch(documents, rows, -1).target_rows, ElementsAre(4, 6, 8));
}

StepPlan plan_of(const std::vector<int64_t>& blocks, int64_t batch_size, int64_t accumulation_steps, bool shuffle) {
  StepPlan plan(batch_size, accumulation_steps, shuffle, 42);
  for (const int64_t rows : blocks) plan.add_block(rows);
  plan.complete();
  return plan;
}

TEST(StepPlan, CoversAnEpochOnceWithAShortLastStep) {
  StepPlan plan = plan_of({11}, 2, 2, true);
  EXPECT_EQ(plan.steps_per_epoch(), 3);
  std::vector<int64_t> seen;
  for (int64_t step = 0; step < 3; ++step) {
    for (const auto& micro_batch : plan.micro_batches(step))
      seen.insert(seen.end(), micro_batch.begin(), micro_batch.end());
  }
  EXPECT_THAT(seen, testing::UnorderedElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10));
  EXPECT_THAT(plan.micro_batches(2), ElementsAre(testing::SizeIs(2), testing::SizeIs(1)));
}

TEST(StepPlan, AnyStepCanBeAskedForFirst) {
  StepPlan one = plan_of({30, 20}, 3, 1, true), other = plan_of({30, 20}, 3, 1, true);
  std::vector<std::vector<std::vector<int64_t>>> forward;
  for (int64_t step = 0; step < 40; ++step) forward.push_back(one.micro_batches(step));
  for (int64_t step = 39; step >= 0; --step) EXPECT_EQ(other.micro_batches(step), forward[static_cast<size_t>(step)]);
  EXPECT_NE(forward[0], forward[17]) << "the second epoch has an order of its own";
}

TEST(StepPlan, TheFirstStepsAreKnownBeforeAllBlocksAre) {
  StepPlan whole = plan_of({10, 10, 5}, 2, 2, true), growing(2, 2, true, 42);
  growing.add_block(10);
  EXPECT_TRUE(growing.knows(1));
  EXPECT_FALSE(growing.knows(2));
  for (int64_t step = 0; step < 2; ++step) {
    EXPECT_EQ(growing.micro_batches(step), whole.micro_batches(step));
    for (const auto& micro_batch : whole.micro_batches(step)) EXPECT_THAT(micro_batch, testing::Each(testing::Lt(10)));
  }
  growing.add_block(10);
  for (int64_t step = 0; step < 5; ++step) EXPECT_EQ(growing.micro_batches(step), whole.micro_batches(step));
  growing.add_block(5);
  growing.complete();
  for (int64_t step = 0; step < 20; ++step) EXPECT_EQ(growing.micro_batches(step), whole.micro_batches(step));
}

TEST(RowBlocks, HoldEachRowOnce) {
  for (const bool shuffle : {true, false}) {
    const RowBlocks blocks(2 * RowBlocks::kRows + 100, shuffle, 42);
    ASSERT_EQ(blocks.count(), 3);
    std::vector<int64_t> seen;
    for (int64_t block = 0; block < 3; ++block) {
      const std::vector<int64_t> rows = blocks.rows(block);
      EXPECT_TRUE(std::is_sorted(rows.begin(), rows.end()));
      EXPECT_EQ(rows.back() - rows.front() >= RowBlocks::kRows, shuffle) << "a shuffled block is a sample of all rows";
      seen.insert(seen.end(), rows.begin(), rows.end());
    }
    std::sort(seen.begin(), seen.end());
    for (size_t i = 0; i < seen.size(); ++i) ASSERT_EQ(seen[i], static_cast<int64_t>(i));
  }
}

TEST(StepPlan, WithoutShuffleRowsComeInOrder) {
  StepPlan plan = plan_of({4}, 2, 1, false);
  EXPECT_THAT(plan.micro_batches(3), ElementsAre(ElementsAre(2, 3)));
}

}  // namespace
}  // namespace slipway::train
