#include "backend/store/database.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "backend/base/files.h"
#include "backend/base/status.h"

namespace slipway::store {
namespace {

class DatabaseTest : public testing::Test {
 protected:
  void SetUp() override { open(); }
  void open() {
    database_.reset();
    auto opened = Database::open(folder_.path() / "slipway.db", clock_);
    ASSERT_TRUE(opened.ok()) << opened.status();
    database_ = *std::move(opened);
  }
  int64_t count(const std::string& table) {
    return database_
        ->read([&](Connection& connection) -> absl::StatusOr<int64_t> {
          return *query_one(connection, "SELECT count(*) FROM " + table,
                            [](SQLite::Statement& row) { return row.getColumn(0).getInt64(); });
        })
        .value();
  }
  base::TemporaryFolder folder_;
  base::FakeClock clock_;
  std::unique_ptr<Database> database_;
};

TEST_F(DatabaseTest, KeepsStoreIdAndPositionAcrossOpenings) {
  const std::string store_id = database_->store_id();
  EXPECT_FALSE(store_id.empty());
  ASSERT_TRUE(database_
                  ->write([](Transaction& transaction) {
                    transaction.changed("model", "m1");
                    return absl::OkStatus();
                  })
                  .ok());
  const int64_t position = database_->changes().position();
  EXPECT_GT(position, 0);
  open();
  EXPECT_EQ(database_->store_id(), store_id);
  EXPECT_EQ(database_->changes().position(), position);
}

TEST_F(DatabaseTest, UndoesAWriteThatReturnsAnErrorButKeepsItsNeighbours) {
  // The first write holds the writer until all three are queued, so that they share one commit.
  std::atomic<bool> queued = false;
  std::atomic<int> done = 0;
  absl::Status second;
  database_->post(
      [&](Transaction& transaction) {
        while (!queued) std::this_thread::yield();
        transaction.changed("model", "first");
        return absl::OkStatus();
      },
      [&](const absl::Status& status) { done += status.ok() ? 1 : 0; });
  database_->post(
      [](Transaction& transaction) {
        transaction.changed("model", "second");
        return base::not_found("model", "second");
      },
      [&](const absl::Status& status) { second = status; });
  database_->post(
      [](Transaction& transaction) {
        transaction.changed("model", "third");
        return absl::OkStatus();
      },
      [&](const absl::Status& status) { done += status.ok() ? 1 : 0; });
  queued = true;
  ASSERT_TRUE(database_->write([](Transaction&) { return absl::OkStatus(); }).ok());
  EXPECT_EQ(done, 2);
  EXPECT_EQ(second.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(count("changes"), 2);
  EXPECT_EQ(database_->changes().position(), 2);
}

TEST_F(DatabaseTest, TurnsExceptionsIntoAnErrorAndUndoesTheWrite) {
  const absl::Status status = database_->write([](Transaction& transaction) {
    transaction.changed("model", "m1");
    transaction.connection().exec("INSERT INTO no_such_table VALUES (1)");
    return absl::OkStatus();
  });
  EXPECT_EQ(base::detail_of(status).reason, "STORE_ERROR");
  EXPECT_EQ(count("changes"), 0);
}

TEST_F(DatabaseTest, ReadersCannotWrite) {
  const auto status = database_->read([](Connection& connection) -> absl::Status {
    connection.exec("DELETE FROM changes");
    return absl::OkStatus();
  });
  EXPECT_FALSE(status.ok());
}

TEST_F(DatabaseTest, AThingHasOneChangeAtItsLatestPosition) {
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(database_
                    ->write([](Transaction& transaction) {
                      transaction.changed("run", "r1", "r1");
                      return absl::OkStatus();
                    })
                    .ok());
  }
  EXPECT_EQ(count("changes"), 1);
  EXPECT_EQ(database_->changes().position(), 3);
}

TEST_F(DatabaseTest, WakesWatchersAfterTheCommitUntilTheyLeave) {
  std::vector<int64_t> woken;
  auto subscription = database_->changes().subscribe([&](int64_t position) { woken.push_back(position); });
  const auto change = [](Transaction& transaction) {
    transaction.changed("node", "n1");
    return absl::OkStatus();
  };
  ASSERT_TRUE(database_->write(change).ok());
  ASSERT_TRUE(database_->write([](Transaction&) { return absl::OkStatus(); }).ok());
  EXPECT_EQ(woken, std::vector<int64_t>{1});
  subscription.reset();
  ASSERT_TRUE(database_->write(change).ok());
  EXPECT_EQ(woken.size(), 1U);
}

TEST_F(DatabaseTest, FinishesQueuedWritesBeforeItCloses) {
  std::atomic<int> done = 0;
  for (int i = 0; i < 200; ++i) {
    database_->post(
        [i](Transaction& transaction) {
          transaction.changed("model", std::to_string(i));
          return absl::OkStatus();
        },
        [&](const absl::Status& status) { done += status.ok() ? 1 : 0; });
  }
  open();
  EXPECT_EQ(done, 200);
  EXPECT_EQ(count("changes"), 200);
}

TEST(DatabaseOpen, RefusesAFileThatIsNoStore) {
  const base::TemporaryFolder folder;
  const base::FakeClock clock;
  base::write_file_atomically(folder.path() / "slipway.db", std::string(4096, 'x'));
  const auto opened = Database::open(folder.path() / "slipway.db", clock);
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(base::detail_of(opened.status()).reason, "STORE_DAMAGED");
}

TEST(DatabaseOpen, RefusesAStoreOfANewerVersion) {
  const base::TemporaryFolder folder;
  const base::FakeClock clock;
  {
    auto opened = Database::open(folder.path() / "slipway.db", clock);
    ASSERT_TRUE(opened.ok());
    ASSERT_TRUE((*opened)
                    ->write([](Transaction& transaction) {
                      transaction.connection().exec("INSERT INTO schema_migrations VALUES (9999, '9999_future', 0)");
                      return absl::OkStatus();
                    })
                    .ok());
  }
  const auto opened = Database::open(folder.path() / "slipway.db", clock);
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(base::detail_of(opened.status()).reason, "STORE_TOO_NEW");
}

}  // namespace
}  // namespace slipway::store
