#include "agents/engine/train/data/row_index.h"

#include <gtest/gtest.h>

#include "backend/base/files.h"

namespace slipway::train {
namespace {

TEST(RowIndex, LinesThatAreBlankAreNoRows) {
  const base::TemporaryFolder folder;
  const auto path = folder.path() / "rows.jsonl";
  base::write_file_atomically(path, "{\"a\":1}\r\n\n  \t\n{\"b\":2}\n{\"c\":3}");
  const auto index = index_rows(path);
  ASSERT_EQ(index->count(), 3);
  const std::vector<Line> lines = index->read({0, 2});
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[0].text, "{\"a\":1}\r");
  EXPECT_EQ(lines[0].number, 1);
  EXPECT_EQ(lines[1].text, "{\"c\":3}");
  EXPECT_EQ(lines[1].number, 5);
}

TEST(RowIndex, AnEmptyFileHasNoRows) {
  const base::TemporaryFolder folder;
  base::write_file_atomically(folder.path() / "rows.jsonl", "");
  EXPECT_EQ(index_rows(folder.path() / "rows.jsonl")->count(), 0);
}

}  // namespace
}  // namespace slipway::train
