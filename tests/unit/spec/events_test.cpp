#include "agents/engine/spec/events.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <thread>

#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::spec {
namespace {

using nlohmann::json;

class Events : public ::testing::Test {
 protected:
  std::vector<json> read() const {
    std::vector<json> events;
    std::ifstream file(folder_.path() / "events.jsonl");
    for (std::string line; std::getline(file, line);) events.push_back(json::parse(line));
    return events;
  }
  void append(const std::string& text) const { std::ofstream(folder_.path() / "events.jsonl", std::ios::app) << text; }

  base::TemporaryFolder folder_;
  base::FakeClock clock_;
};

TEST_F(Events, HaveTheContractsShape) {
  std::vector<json> examples;
  std::ifstream file(std::string(SLIPWAY_SOURCE_DIR) + "/tests/unit/spec/contracts/events.jsonl");
  for (std::string line; std::getline(file, line);) examples.push_back(json::parse(line));
  {
    EventWriter writer(folder_.path(), clock_);
    writer.started("slipway-train");
    writer.phase("tokenize", "begin");
    writer.progress("train", 10, 300, "step", 141.2);
    writer.metric(10, {{"loss", 2.113}});
    writer.metric(20, {{"eval_loss", 2.01}});
    writer.checkpoint(20, "checkpoints/step-20", "9f86");
    writer.artifact("adapter", "out/adapter");
    writer.ready("http://127.0.0.1:8080");
    writer.error("OUT_OF_MEMORY", "m", "a");
    writer.finished("succeeded");
  }
  const std::vector<json> events = read();
  ASSERT_EQ(events.size(), examples.size());
  for (size_t i = 0; i < events.size(); ++i) {
    for (const auto& [name, value] : examples[i].items()) {
      ASSERT_TRUE(events[i].contains(name)) << name << " in " << events[i];
      EXPECT_EQ(events[i][name].type_name(), value.type_name());
    }
    EXPECT_EQ(events[i].size(), examples[i].size());
    EXPECT_EQ(events[i]["seq"], i + 1);
    EXPECT_EQ(events[i]["type"], examples[i]["type"]);
  }
  EXPECT_EQ(events[0]["time"], "2023-11-14T22:13:20.000Z");
}

TEST_F(Events, CountOnOverRestartsAndDropACutLine) {
  { EventWriter(folder_.path(), clock_).heartbeat(1); }
  append("{\"seq\":2,\"time\":\"2026-01-");
  { EventWriter(folder_.path(), clock_).heartbeat(2); }
  const std::vector<json> events = read();
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[1]["seq"], 2);
  EXPECT_EQ(events[1]["step"], 2);
}

TEST_F(Events, DropGarbageThatAPowerCutLeft) {
  { EventWriter(folder_.path(), clock_).heartbeat(1); }
  append(std::string(200000, '\0') + "\n\n{}\n" + std::string(10, '\0'));
  { EventWriter(folder_.path(), clock_).heartbeat(2); }
  ASSERT_EQ(read().size(), 2U);
  EXPECT_EQ(read()[1]["seq"], 2);
}

TEST_F(Events, StartAnewInAFileWithoutAnyEvent) {
  append("nothing\n");
  { EventWriter(folder_.path(), clock_).heartbeat(1); }
  ASSERT_EQ(read().size(), 1U);
  EXPECT_EQ(read()[0]["seq"], 1);
}

TEST_F(Events, FindTheEndBehindALineLargerThanABlock) {
  { EventWriter(folder_.path(), clock_).warning("LONG", std::string(300000, 'x'), ""); }
  { EventWriter(folder_.path(), clock_).heartbeat(1); }
  ASSERT_EQ(read().size(), 2U);
  EXPECT_EQ(read()[1]["seq"], 2);
}

TEST_F(Events, KnowThatTheWorkdirHasFinished) {
  {
    EventWriter writer(folder_.path(), clock_);
    EXPECT_FALSE(writer.already_succeeded());
    writer.finished("stopped");
  }
  {
    EventWriter writer(folder_.path(), clock_);
    EXPECT_FALSE(writer.already_succeeded());
    writer.finished("succeeded");
  }
  EXPECT_TRUE(EventWriter(folder_.path(), clock_).already_succeeded());
}

TEST_F(Events, LeaveOutWhatIsNoNumberAndMendBrokenText) {
  {
    EventWriter writer(folder_.path(), clock_);
    writer.metric(1, {{"loss", NAN}, {"grad_norm", INFINITY}, {"tokens", 5}});
    writer.warning("W", "bad \xff byte", "");
    writer.progress("train", 1, 2, "step", NAN);
  }
  EXPECT_EQ(read()[0]["values"], json({{"tokens", 5}}));
  EXPECT_EQ(read()[1]["message"], "bad \xEF\xBF\xBD byte");
  EXPECT_FALSE(read()[2].contains("eta_s"));
}

TEST_F(Events, FromManyThreadsStayWholeAndInOrder) {
  {
    EventWriter writer(folder_.path(), clock_);
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 50; ++i) writer.heartbeat(i);
      });
    }
  }
  const std::vector<json> events = read();
  ASSERT_EQ(events.size(), 200U);
  for (size_t i = 0; i < events.size(); ++i) EXPECT_EQ(events[i]["seq"], i + 1);
}

TEST_F(Events, AFullDiskIsNamedSo) {
  std::filesystem::create_symlink("/dev/full", folder_.path() / "events.jsonl");
  EventWriter writer(folder_.path(), clock_);
  try {
    writer.heartbeat(1);
    FAIL() << "written to a full disk";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.code(), base::kDiskFull);
  }
}

TEST_F(Events, TailReturnsWholeLinesFromAnOffset) {
  LineTail tail(folder_.path() / "events.jsonl", 0);
  EXPECT_TRUE(tail.read().empty());
  append("one\ntwo\nthr");
  EXPECT_EQ(tail.read(), (std::vector<std::string>{"one", "two"}));
  EXPECT_EQ(tail.offset(), 8);
  EXPECT_TRUE(tail.read().empty());
  append("ee\n");
  EXPECT_EQ(tail.read(), (std::vector<std::string>{"three"}));
  EXPECT_EQ(LineTail(folder_.path() / "events.jsonl", 4).read(), (std::vector<std::string>{"two", "three"}));
}

TEST_F(Events, TailHandsOnAnEndlessLineInPieces) {
  append(std::string(25, 'x') + "\nend\n");
  LineTail tail(folder_.path() / "events.jsonl", 0);
  EXPECT_EQ(tail.read(10), (std::vector<std::string>{std::string(10, 'x')}));
  EXPECT_EQ(tail.read(10), (std::vector<std::string>{std::string(10, 'x')}));
  EXPECT_EQ(tail.read(10), (std::vector<std::string>{"xxxxx", "end"}));
}

}  // namespace
}  // namespace slipway::spec
