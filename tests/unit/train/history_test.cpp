#include "agents/engine/train/checkpoints/history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "backend/base/files.h"

namespace slipway::train {
namespace {

TEST(RunHistory, RemembersWhatWasSaid) {
  const base::TemporaryFolder folder;
  std::ofstream(folder.path() / "events.jsonl")
      << R"({"seq":1,"type":"metric","step":0,"values":{"train_rows":9}})"
      << "\n"
      << R"({"seq":2,"type":"progress","phase":"train","done":7,"total":9,"unit":"step","eta_s":1})"
      << "\n"
      << R"({"seq":3,"type":"metric","step":6,"values":{"loss":2.5}})"
      << "\n"
      << R"({"seq":4,"type":"metric","step":4,"values":{"eval_loss":2.5}})"
      << "\n"
      << R"({"seq":5,"type":"checkpoint","step":4,"path":"checkpoints/step-4","sha256":"ab"})"
      << "\n"
      << R"({"seq":6,"type":"warning","code":"X","message":"m","advice":""})"
      << "\n"
      << "not json\n"
      << R"({"seq":8,"type":"metric","step":8,"values":{"loss":)";  // cut by a crash
  const RunHistory history = RunHistory::read(folder.path());
  EXPECT_EQ(history.last_data_step, 0);
  EXPECT_EQ(history.last_train_step, 6);
  EXPECT_EQ(history.last_eval_step, 4);
  EXPECT_EQ(history.last_progress, 7);
  EXPECT_THAT(history.checkpoints, testing::ElementsAre(testing::Pair(4, "ab")));
  EXPECT_THAT(history.warnings, testing::ElementsAre("X m"));
}

TEST(RunHistory, IsEmptyForAFreshWorkdir) {
  const base::TemporaryFolder folder;
  EXPECT_EQ(RunHistory::read(folder.path()).last_train_step, -1);
}

}  // namespace
}  // namespace slipway::train
