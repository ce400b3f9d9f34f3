// The store: one SQLite file, one writer thread, a few reading connections. Made by main.cpp; the other headers of this
// folder hold the queries, one file per resource, as functions over a connection.
#pragma once

#include <SQLiteCpp/Database.h>
#include <SQLiteCpp/Statement.h>
#include <SQLiteCpp/VariadicBind.h>

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backend/base/clock.h"
#include "backend/store/change_feed.h"

namespace slipway::store {

// A connection: what query functions take. Readers must only read.
using Connection = SQLite::Database;

// One write transaction, on the writer's thread. What it did is undone when its function returns an error.
class Transaction {
 public:
  Connection& connection() { return *connection_; }
  // The time of this transaction, in Unix milliseconds.
  int64_t now_ms() const { return now_ms_; }

  // The next position of the feed, for a row that watchers read by position (a log line, an event, a sample).
  int64_t next_position() { return ++position_; }

  // Records that the thing changed, so that watchers send it as it is now. kind: run, task_progress, deployment, node,
  // and for lists model, dataset. run_id: the run whose page shows it, if any. Once per thing: the latest position
  // counts.
  void changed(const std::string& kind, const std::string& id, const std::string& run_id = "");

 private:
  friend class Database;
  Transaction(Connection& connection, int64_t now_ms, int64_t position)
      : connection_(&connection), now_ms_(now_ms), position_(position) {}

  Connection* connection_;
  int64_t now_ms_;
  int64_t position_;
};

class Database {
 public:
  using Write = std::function<absl::Status(Transaction&)>;

  // Opens or makes the file, and applies the migrations that it lacks. An error names file and migration.
  static absl::StatusOr<std::unique_ptr<Database>> open(const std::filesystem::path& file, const base::Clock& clock);
  // Finishes the writes that are queued.
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // Runs `write` as one transaction and waits for its commit to be on disk. Any thread but the writer's.
  absl::Status write(Write write);

  // The same with a result: the function returns StatusOr<T>.
  template <typename Function>
  auto write_returning(Function function) -> std::invoke_result_t<Function, Transaction&> {
    std::optional<std::invoke_result_t<Function, Transaction&>> result;
    const absl::Status status = write([&](Transaction& transaction) {
      result.emplace(function(transaction));
      return result->status();
    });
    if (!status.ok()) return status;
    return *std::move(result);
  }

  // Queues a write and returns at once; `done` runs on the writer's thread after the commit, in the order of the calls.
  void post(Write write, std::function<void(const absl::Status&)> done);

  // Runs `read` (Connection& -> absl::StatusOr<T> or absl::Status) on a reading connection: one snapshot. Any thread.
  template <typename Function>
  auto read(Function function) -> std::invoke_result_t<Function, Connection&> {
    std::optional<std::invoke_result_t<Function, Connection&>> result;
    const absl::Status status = run_read([&](Connection& connection) { result.emplace(function(connection)); });
    if (!status.ok()) return status;
    return *std::move(result);
  }

  ChangeFeed& changes() { return changes_; }
  // Random, made with the file: cursors carry it, so that one of another store is refused.
  const std::string& store_id() const { return store_id_; }

 private:
  struct Job {
    Write write;
    std::function<void(const absl::Status&)> done;
  };

  Database(std::filesystem::path file, const base::Clock& clock);
  absl::Status prepare();
  absl::Status run_read(const std::function<void(Connection&)>& read);
  std::unique_ptr<Connection> open_reader() const;
  void run_writer();
  void commit_together(std::deque<Job>& jobs);
  absl::Status run_one(const Write& write, int64_t& position);

  std::filesystem::path file_;
  const base::Clock& clock_;
  std::string store_id_;
  ChangeFeed changes_;
  std::unique_ptr<Connection> writer_;

  std::mutex readers_mutex_;
  std::vector<std::unique_ptr<Connection>> idle_readers_;

  std::mutex jobs_mutex_;
  std::condition_variable jobs_ready_;
  std::deque<Job> jobs_;
  bool closing_ = false;
  std::thread writer_thread_;
};

// Runs one statement with values bound in order. Throws SQLite::Exception, which write() and read() turn into a status.
template <typename... Values>
void execute(Connection& connection, const char* sql, const Values&... values) {
  SQLite::Statement statement(connection, sql);
  if constexpr (sizeof...(values) > 0) SQLite::bind(statement, values...);
  while (statement.executeStep()) {
  }
}

// The first row's columns by `row(statement)`, or nullopt.
template <typename Row, typename... Values>
auto query_one(Connection& connection, const std::string& sql, Row row, const Values&... values)
    -> std::optional<std::invoke_result_t<Row, SQLite::Statement&>> {
  SQLite::Statement statement(connection, sql);
  if constexpr (sizeof...(values) > 0) SQLite::bind(statement, values...);
  if (!statement.executeStep()) return std::nullopt;
  return row(statement);
}

template <typename Row, typename... Values>
auto query_all(Connection& connection, const std::string& sql, Row row, const Values&... values)
    -> std::vector<std::invoke_result_t<Row, SQLite::Statement&>> {
  SQLite::Statement statement(connection, sql);
  if constexpr (sizeof...(values) > 0) SQLite::bind(statement, values...);
  std::vector<std::invoke_result_t<Row, SQLite::Statement&>> rows;
  while (statement.executeStep()) rows.push_back(row(statement));
  return rows;
}

}  // namespace slipway::store
