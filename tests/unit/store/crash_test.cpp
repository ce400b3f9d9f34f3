// What was committed survives a kill -9 at any moment, and the store opens again.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/base/files.h"
#include "backend/store/lines.h"
#include "backend/store/runs.h"

namespace slipway::store {
namespace {

// In the child: commits one line and one change after the other, and says each number once it is on disk.
[[noreturn]] void write_for_ever(const std::filesystem::path& file, int pipe) {
  const base::SystemClock clock;
  auto opened = Database::open(file, clock);
  if (!opened.ok()) _exit(3);
  while (true) {
    int64_t number = 0;
    const absl::Status status = (*opened)->write([&](Transaction& transaction) {
      insert_log_lines(transaction, {"run", "task", "attempt"}, "stdout", 0, {"line"});
      transaction.changed("run", "run", "run");
      number = list_log_lines(transaction.connection(), {.scope_id = "run", .limit = 1}).total;
      return absl::OkStatus();
    });
    if (!status.ok() || write(pipe, &number, sizeof number) != sizeof number) _exit(4);
  }
}

TEST(StoreCrash, CommittedWritesSurviveAKill) {
  const base::TemporaryFolder folder;
  const std::filesystem::path file = folder.path() / "slipway.db";
  for (int round = 1; round <= 3; ++round) {
    int pipes[2];
    ASSERT_EQ(pipe(pipes), 0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) write_for_ever(file, pipes[1]);
    close(pipes[1]);
    int64_t number = 0, last = 0;
    for (int i = 0; i < 5 * round && read(pipes[0], &number, sizeof number) == sizeof number; ++i) last = number;
    kill(child, SIGKILL);
    while (read(pipes[0], &number, sizeof number) == sizeof number) last = number;
    close(pipes[0]);
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status));

    const base::SystemClock clock;
    auto opened = Database::open(file, clock);
    ASSERT_TRUE(opened.ok()) << opened.status();
    const auto result = (*opened)->read([](Connection& connection) -> absl::StatusOr<std::pair<int64_t, int64_t>> {
      const auto check = query_one(connection, "PRAGMA integrity_check",
                                   [](SQLite::Statement& row) { return std::string(row.getColumn(0)); });
      EXPECT_EQ(check, "ok");
      const LogResult log = list_log_lines(connection, {.scope_id = "run", .tail = true, .limit = 1});
      return std::pair(log.total, log.lines.empty() ? 0 : log.lines[0].position);
    });
    ASSERT_TRUE(result.ok());
    EXPECT_GE(result->first, last);
    EXPECT_GE(last, 5 * round);
    // Line and position were one transaction.
    EXPECT_EQ((*opened)->changes().position(), result->second + 1);
  }
}

}  // namespace
}  // namespace slipway::store
