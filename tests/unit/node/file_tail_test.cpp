// Shipping of lines: whole, once acknowledged never again, again after a new connection.
#include "agents/node/file_tail.h"

#include <gtest/gtest.h>

#include <fstream>

#include "agents/node/engine_events.h"
#include "backend/base/files.h"

namespace slipway::node {
namespace {

void append(const std::filesystem::path& path, const std::string& text) { std::ofstream(path, std::ios::app) << text; }

TEST(FileTail, WaitsForWholeLinesAndCountsFromWhereTheAttemptBegan) {
  const base::TemporaryFolder folder;
  const auto path = folder.path() / "events.jsonl";
  append(path, "old\n");
  FileTail tail(path, end_of_last_line(path), 0);
  EXPECT_FALSE(tail.next());
  append(path, "one\ntw");
  auto batch = tail.next();
  ASSERT_TRUE(batch);
  EXPECT_EQ(batch->lines, std::vector<std::string>{"one"});
  EXPECT_EQ(batch->offset, 0);
  EXPECT_EQ(batch->end_offset, 4);
  EXPECT_FALSE(tail.next());
  EXPECT_FALSE(tail.drained());
  tail.acknowledge(4);
  EXPECT_TRUE(tail.drained());
  append(path, "o\n");
  batch = tail.next();
  ASSERT_TRUE(batch);
  EXPECT_EQ(batch->lines, std::vector<std::string>{"two"});
  EXPECT_EQ(batch->offset, 4);
}

TEST(FileTail, SendsAgainWhatWasNotAcknowledged) {
  const base::TemporaryFolder folder;
  const auto path = folder.path() / "log";
  append(path, "a\nb\n");
  FileTail tail(path, 0, 0);
  ASSERT_TRUE(tail.next());
  append(path, "c\n");
  ASSERT_TRUE(tail.next());
  tail.acknowledge(2 * 2);
  tail.resume();
  auto batch = tail.next();
  ASSERT_TRUE(batch);
  EXPECT_EQ(batch->lines, std::vector<std::string>{"c"});
  tail.resume_at(2);  // the backend says it has less
  batch = tail.next();
  ASSERT_TRUE(batch);
  EXPECT_EQ(batch->lines, (std::vector<std::string>{"b", "c"}));
}

TEST(FileTail, GoesBackToWhereABatchDidNotFit) {
  const base::TemporaryFolder folder;
  const auto path = folder.path() / "log";
  append(path, "a\nb\n");
  FileTail tail(path, 0, 2);
  ASSERT_TRUE(tail.next());
  tail.acknowledge(0);
  const auto batch = tail.next();
  ASSERT_TRUE(batch);
  EXPECT_EQ(batch->offset, 0);
  EXPECT_EQ(batch->lines, (std::vector<std::string>{"a", "b"}));
}

TEST(FileTail, LimitsWhatIsUnderWay) {
  const base::TemporaryFolder folder;
  const auto path = folder.path() / "log";
  FileTail tail(path, 0, 0);
  for (size_t i = 0; i < FileTail::kMostInFlight; ++i) {
    append(path, "x\n");
    ASSERT_TRUE(tail.next());
  }
  append(path, "x\n");
  EXPECT_FALSE(tail.next());
  tail.acknowledge(2);
  EXPECT_TRUE(tail.next());
}

TEST(FileTail, MakesLinesValidUtf8) {
  EXPECT_EQ(to_valid_utf8("grün €😀"), "grün €😀");
  EXPECT_EQ(to_valid_utf8("a\xFF"
                          "b"),
            "a\xEF\xBF\xBD"
            "b");
  EXPECT_EQ(to_valid_utf8("\xC0\xAF"), "\xEF\xBF\xBD\xEF\xBF\xBD");                  // overlong
  EXPECT_EQ(to_valid_utf8("\xED\xA0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");  // surrogate
  EXPECT_EQ(to_valid_utf8("\xE2\x82"), "\xEF\xBF\xBD\xEF\xBF\xBD");                  // cut
}

TEST(EngineEvents, TakesTheLatestArtifactsAndTheVerdict) {
  const base::TemporaryFolder folder;
  const auto path = folder.path() / "events.jsonl";
  append(path,
         "{\"type\":\"started\"}\n{\"type\":\"artifact\",\"name\":\"adapter\",\"path\":\"out/old\"}\nnot json "
         "\"artifact\"\n"
         "{\"type\":\"error\",\"code\":\"X\"}\n{\"type\":\"finished\",\"status\":\"failed\"}\n");
  const auto since = static_cast<int64_t>(std::filesystem::file_size(path));
  EXPECT_EQ(summarize_events(path, 0).finished, "failed");
  EXPECT_TRUE(summarize_events(path, 0).error_since);
  append(path, "{\"type\":\"started\"}\n{\"type\":\"artifact\",\"name\":\"adapter\",\"path\":\"out/new\"}\n");
  const auto summary = summarize_events(path, since);
  EXPECT_EQ(summary.artifacts.at("adapter"), "out/new");
  EXPECT_EQ(summary.finished, "");
  EXPECT_FALSE(summary.error_since);
}

TEST(EngineEvents, FindsALogsLastWords) {
  const base::TemporaryFolder folder;
  append(folder.path() / "stderr.log", "first\nlast words\n\n");
  EXPECT_EQ(last_line(folder.path() / "stderr.log", 0), "last words");
  EXPECT_EQ(last_line(folder.path() / "none.log", 0), "");
}

}  // namespace
}  // namespace slipway::node
