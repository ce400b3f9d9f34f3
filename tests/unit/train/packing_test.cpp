#include "agents/engine/train/data/packing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <numeric>

#include "agents/engine/train/data/random.h"

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

TEST(StepPlan, CoversAnEpochOnceWithAShortLastStep) {
  StepPlan plan(11, 2, 2, true, 42);
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
  StepPlan one(50, 3, 1, true, 42), other(50, 3, 1, true, 42);
  std::vector<std::vector<std::vector<int64_t>>> forward;
  for (int64_t step = 0; step < 40; ++step) forward.push_back(one.micro_batches(step));
  for (int64_t step = 39; step >= 0; --step) EXPECT_EQ(other.micro_batches(step), forward[static_cast<size_t>(step)]);
  EXPECT_NE(forward[0], forward[17]) << "the second epoch has an order of its own";
}

TEST(StepPlan, WithoutShuffleRowsComeInOrder) {
  StepPlan plan(4, 2, 1, false, 42);
  EXPECT_THAT(plan.micro_batches(3), ElementsAre(ElementsAre(2, 3)));
}

}  // namespace
}  // namespace slipway::train
