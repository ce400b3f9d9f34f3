#include "backend/store/lines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backend/base/files.h"
#include "backend/store/deployments.h"
#include "backend/store/nodes.h"
#include "backend/store/runs.h"

namespace slipway::store {
namespace {

class LinesTest : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = Database::open(folder_.path() / "slipway.db", clock_);
    ASSERT_TRUE(opened.ok()) << opened.status();
    database_ = *std::move(opened);
    write([](Transaction& transaction) {
      store::Run run;
      run.id = "run-1";
      insert_run(transaction.connection(), run);
      for (const char* name : {"prepare", "train"}) {
        Task task;
        task.id = std::string("task-") + name;
        task.run_id = "run-1";
        task.name = name;
        insert_task(transaction.connection(), task);
      }
    });
  }
  template <typename Function>
  void write(Function function) {
    const absl::Status status = database_->write([&](Transaction& transaction) {
      function(transaction);
      return absl::OkStatus();
    });
    ASSERT_TRUE(status.ok()) << status;
  }
  template <typename Function>
  auto read(Function function) {
    return database_
        ->read([&](Connection& connection) -> absl::StatusOr<std::invoke_result_t<Function, Connection&>> {
          return function(connection);
        })
        .value();
  }
  std::vector<std::string> texts(const LogQuery& query) {
    std::vector<std::string> found;
    for (const LogLine& line : read([&](Connection& c) { return list_log_lines(c, query); }).lines) {
      found.push_back(line.text);
    }
    return found;
  }

  base::TemporaryFolder folder_;
  base::FakeClock clock_;
  std::unique_ptr<Database> database_;
};

TEST_F(LinesTest, NumbersLinesPerTaskAndStreamAndPagesBothWays) {
  write([](Transaction& transaction) {
    insert_log_lines(transaction, {"run-1", "task-prepare", "a1"}, "stdout", 1, {"p0", "p1"});
    insert_log_lines(transaction, {"run-1", "task-train", "a2"}, "stdout", 2, {"t0"});
    insert_log_lines(transaction, {"run-1", "task-train", "a2"}, "stderr", 2, {"e0"});
    insert_log_lines(transaction, {"run-1", "task-train", "a3"}, "stdout", 3, {"t1", "t2"});
  });
  const auto all = read([](Connection& c) { return list_log_lines(c, {.scope_id = "run-1"}); });
  ASSERT_EQ(all.lines.size(), 6U);
  EXPECT_EQ(all.lines[5].number, 2);
  EXPECT_EQ(all.lines[5].task_name, "train");
  EXPECT_EQ(all.lines[3].number, 0);
  const int64_t middle = all.lines[2].position;
  EXPECT_THAT(texts({.scope_id = "run-1", .after_position = middle}), testing::ElementsAre("e0", "t1", "t2"));
  EXPECT_THAT(texts({.scope_id = "run-1", .before_position = middle, .limit = 1}), testing::ElementsAre("p1"));
  EXPECT_THAT(texts({.scope_id = "run-1", .owner_id = "task-train", .tail = true, .limit = 2}),
              testing::ElementsAre("t1", "t2"));
  EXPECT_TRUE(texts({.scope_id = "run-2"}).empty());
}

TEST_F(LinesTest, SearchTakesTheTextLiterallyInAnyCase) {
  write([](Transaction& transaction) {
    insert_log_lines(transaction, {"run-1", "task-train", "a"}, "stdout", 1, {"Loss 50% done", "loss_x", "other"});
  });
  EXPECT_THAT(texts({.scope_id = "run-1", .search = "LOSS"}), testing::ElementsAre("Loss 50% done", "loss_x"));
  EXPECT_THAT(texts({.scope_id = "run-1", .search = "0% d"}), testing::ElementsAre("Loss 50% done"));
  EXPECT_THAT(texts({.scope_id = "run-1", .search = "s_x"}), testing::ElementsAre("loss_x"));
  EXPECT_TRUE(texts({.scope_id = "run-1", .search = "s%d"}).empty());
}

TEST_F(LinesTest, AStepTrainedAgainReplacesItsPoint) {
  write([](Transaction& transaction) {
    for (int step = 1; step <= 3; ++step) put_metric(transaction.connection(), "task-train", "loss", step, step, 0);
    put_metric(transaction.connection(), "task-train", "loss", 3, 2.5, 0);
  });
  const auto points = read([](Connection& c) { return metric_points(c, "task-train", "loss"); });
  ASSERT_EQ(points.size(), 3U);
  EXPECT_EQ(points[2].value, 2.5);
  const auto last = [](const char* name) {
    return [=](Connection& c) { return last_metric_point(c, "task-train", name); };
  };
  EXPECT_EQ(read(last("loss"))->value, 2.5);
  EXPECT_FALSE(read(last("other")));
}

TEST_F(LinesTest, EverythingHasItsPlaceInOneOrder) {
  write([](Transaction& transaction) {
    insert_log_lines(transaction, {"run-1", "task-train", "a"}, "stdout", 1, {"one"});
    insert_event(transaction, {"run-1", "task-train", "a"}, RunEvent{});
    transaction.changed("run", "run-1", "run-1");
    insert_log_lines(transaction, {"run-1", "task-train", "a"}, "stdout", 1, {"two"});
  });
  const auto lines = read([](Connection& c) { return log_lines_after(c, "run-1", 0, 100, 10); });
  const auto events = read([](Connection& c) { return events_after(c, "run-1", 0, 100, 10); });
  const auto changes = read([](Connection& c) { return changes_after(c, "run-1", 0, 100, 10); });
  EXPECT_EQ(lines[0].position, 1);
  EXPECT_EQ(events[0].position, 2);
  EXPECT_EQ(changes[0].position, 3);
  EXPECT_EQ(lines[1].position, 4);
  EXPECT_EQ(database_->changes().position(), 4);
}

TEST_F(LinesTest, SamplesAreThinnedForPagesAndForKeeping) {
  write([](Transaction& transaction) {
    Node node;
    node.id = "node-1";
    put_node(transaction.connection(), node);
    for (int i = 0; i < 600; ++i) insert_sample(transaction, "node-1", i * 2000, "{}");
  });
  const auto page = read([](Connection& c) { return list_samples(c, "node-1", 0, 100); });
  EXPECT_LE(page.size(), 100U);
  EXPECT_EQ(page.back().time_ms, 599 * 2000);
  write([](Transaction& transaction) { prune_samples(transaction.connection(), 100'000, 1'000'000, 60'000); });
  const auto kept = read([](Connection& c) { return list_samples(c, "node-1", 0, 2000); });
  EXPECT_EQ(kept.front().time_ms, 100'000);
  // One of each minute up to 1,000 s, all of the 100 after.
  EXPECT_EQ(kept.size(), 16U + 100U);
}

TEST_F(LinesTest, JoinTokensAreTakenOnceAndEnd) {
  write([](Transaction& transaction) {
    insert_join_token(transaction.connection(), "one", 100);
    EXPECT_TRUE(take_join_token(transaction.connection(), "one", 50));
    EXPECT_FALSE(take_join_token(transaction.connection(), "one", 50));
    insert_join_token(transaction.connection(), "two", 100);
    EXPECT_FALSE(take_join_token(transaction.connection(), "two", 100));
  });
}

TEST_F(LinesTest, DeploymentsAreFoundByWhatTheyServe) {
  write([](Transaction& transaction) {
    Deployment deployment;
    deployment.id = "deployment-1";
    deployment.name = "tuned";
    deployment.model_version_id = "mv-2";
    deployment.base_version_id = "mv-1";
    deployment.served_names = {"tuned", "tuned-base"};
    insert_deployment(transaction.connection(), deployment);
  });
  for (const char* version : {"mv-1", "mv-2"}) {
    EXPECT_EQ(read([&](Connection& c) { return deployments_of_version(c, version); }).size(), 1U);
  }
  EXPECT_EQ(read([](Connection& c) { return find_deployment_by_reference(c, "tuned"); })->served_names.size(), 2U);
}

}  // namespace
}  // namespace slipway::store
