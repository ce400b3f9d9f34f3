#include "backend/store/database.h"

#include <SQLiteCpp/Exception.h>
#include <sqlite3.h>

#include <exception>
#include <future>
#include <utility>

#include "backend/base/ids.h"
#include "backend/base/status.h"
#include "backend/store/migrations.h"

namespace slipway::store {
namespace {

constexpr int kBusyTimeoutMs = 5000;
constexpr size_t kIdleReaders = 8;
// Writes that wait are committed together, so that one fsync serves many.
constexpr size_t kTogether = 64;

absl::Status status_of(const SQLite::Exception& exception, const std::string& what) {
  const std::string message = what + ": " + exception.what();
  switch (exception.getErrorCode()) {
    case SQLITE_FULL:
      return base::error(absl::StatusCode::kResourceExhausted, message,
                         {"DISK_FULL", "", "free some space on the disk of the data folder"});
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return base::error(absl::StatusCode::kDataLoss, message,
                         {"STORE_DAMAGED", "", "restore slipway.db from a backup of the data folder"});
    case SQLITE_CONSTRAINT:
      return base::error(absl::StatusCode::kInternal, message, {"STORE_CONSTRAINT", "", "report this with the log"});
    default:
      return base::error(absl::StatusCode::kInternal, message,
                         {"STORE_ERROR", "", "look at slipwayd's log, and at the disk of the data folder"});
  }
}

// The one boundary for exceptions of SQLiteCpp and of row readers.
template <typename Function>
absl::Status guarded(const char* what, Function function) {
  try {
    return function();
  } catch (const SQLite::Exception& exception) {
    return status_of(exception, what);
  } catch (const std::exception& exception) {
    return base::error(absl::StatusCode::kInternal, std::string(what) + ": " + exception.what(),
                       {"STORE_ERROR", "", "report this with slipwayd's log"});
  }
}

}  // namespace

void Transaction::changed(const std::string& kind, const std::string& id, const std::string& run_id) {
  execute(connection(),
          "INSERT INTO changes (kind, id, run_id, position) VALUES (?, ?, ?, ?) "
          "ON CONFLICT (kind, id) DO UPDATE SET run_id = excluded.run_id, position = excluded.position",
          kind, id, run_id, next_position());
}

Database::Database(std::filesystem::path file, const base::Clock& clock) : file_(std::move(file)), clock_(clock) {}

absl::StatusOr<std::unique_ptr<Database>> Database::open(const std::filesystem::path& file, const base::Clock& clock) {
  std::unique_ptr<Database> database(new Database(file, clock));
  const std::string what = "store " + file.string();
  const absl::Status status = guarded(what.c_str(), [&] { return database->prepare(); });
  if (!status.ok()) return status;
  database->writer_thread_ = std::thread([raw = database.get()] { raw->run_writer(); });
  return database;
}

Database::~Database() {
  {
    const std::lock_guard lock(jobs_mutex_);
    closing_ = true;
  }
  jobs_ready_.notify_all();
  if (writer_thread_.joinable()) writer_thread_.join();
}

absl::Status Database::prepare() {
  writer_ = std::make_unique<Connection>(file_.string(), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE, kBusyTimeoutMs);
  writer_->exec("PRAGMA journal_mode = WAL");
  writer_->exec("PRAGMA synchronous = FULL");
  writer_->exec("PRAGMA foreign_keys = ON");
  writer_->exec(
      "CREATE TABLE IF NOT EXISTS schema_migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL, "
      "applied_at_ms INTEGER NOT NULL) STRICT");
  for (const Migration& migration : migrations()) {
    const auto known = query_one(
        *writer_, "SELECT name FROM schema_migrations WHERE number = ?",
        [](SQLite::Statement& row) { return row.getColumn(0).getString(); }, migration.number);
    if (known) continue;
    writer_->exec("BEGIN IMMEDIATE");
    try {
      writer_->exec(migration.sql);
      execute(*writer_, "INSERT INTO schema_migrations VALUES (?, ?, ?)", migration.number, migration.name,
              clock_.now_ms());
      writer_->exec("COMMIT");
    } catch (const SQLite::Exception& exception) {
      sqlite3_exec(writer_->getHandle(), "ROLLBACK", nullptr, nullptr, nullptr);
      return status_of(exception, "migration " + std::string(migration.name) + " of " + file_.string());
    }
  }
  const int newest = migrations().empty() ? 0 : migrations().back().number;
  const auto ahead = query_one(
      *writer_, "SELECT name FROM schema_migrations WHERE number > ? ORDER BY number DESC LIMIT 1",
      [](SQLite::Statement& row) { return row.getColumn(0).getString(); }, newest);
  if (ahead) {
    return base::failed_precondition("STORE_TOO_NEW",
                                     file_.string() + " was written by a newer slipwayd (migration " + *ahead + ")",
                                     "start that version, or use another data folder");
  }
  execute(*writer_, "INSERT OR IGNORE INTO store_facts (name, value) VALUES ('store_id', ?)", base::random_secret(6));
  store_id_ = query_one(*writer_, "SELECT value FROM store_facts WHERE name = 'store_id'", [](SQLite::Statement& row) {
                return row.getColumn(0).getString();
              }).value_or("");
  changes_.start_at(query_one(*writer_, "SELECT position FROM feed", [](SQLite::Statement& row) {
                      return row.getColumn(0).getInt64();
                    }).value_or(0));
  return absl::OkStatus();
}

absl::Status Database::write(Write write) {
  std::promise<absl::Status> finished;
  post(std::move(write), [&](const absl::Status& status) { finished.set_value(status); });
  return finished.get_future().get();
}

void Database::post(Write write, std::function<void(const absl::Status&)> done) {
  {
    const std::lock_guard lock(jobs_mutex_);
    jobs_.push_back({std::move(write), std::move(done)});
  }
  jobs_ready_.notify_one();
}

void Database::run_writer() {
  while (true) {
    std::deque<Job> together;
    {
      std::unique_lock lock(jobs_mutex_);
      jobs_ready_.wait(lock, [&] { return closing_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      while (!jobs_.empty() && together.size() < kTogether) {
        together.push_back(std::move(jobs_.front()));
        jobs_.pop_front();
      }
    }
    commit_together(together);
  }
}

void Database::commit_together(std::deque<Job>& jobs) {
  std::vector<absl::Status> results(jobs.size(), absl::OkStatus());
  int64_t position = changes_.position();
  const int64_t before = position;
  const absl::Status committed = guarded("store commit", [&] {
    writer_->exec("BEGIN IMMEDIATE");
    for (size_t i = 0; i < jobs.size(); ++i) {
      results[i] = run_one(jobs[i].write, position);
      // A full disk makes SQLite undo the whole transaction by itself: nothing of this batch is kept.
      if (sqlite3_get_autocommit(writer_->getHandle()) != 0) return results[i];
    }
    if (position != before) execute(*writer_, "UPDATE feed SET position = ?", position);
    writer_->exec("COMMIT");
    return absl::OkStatus();
  });
  if (!committed.ok()) {
    if (sqlite3_get_autocommit(writer_->getHandle()) == 0) {
      sqlite3_exec(writer_->getHandle(), "ROLLBACK", nullptr, nullptr, nullptr);
    }
    for (absl::Status& result : results) {
      if (result.ok()) result = committed;
    }
  } else if (position != before) {
    changes_.publish(position);
  }
  for (size_t i = 0; i < jobs.size(); ++i) {
    if (jobs[i].done) jobs[i].done(results[i]);
  }
}

absl::Status Database::run_one(const Write& write, int64_t& position) {
  writer_->exec("SAVEPOINT one");
  Transaction transaction(*writer_, clock_.now_ms(), position);
  const absl::Status status = guarded("store write", [&] { return write(transaction); });
  if (status.ok()) {
    writer_->exec("RELEASE one");
    position = transaction.position_;
  } else {
    sqlite3_exec(writer_->getHandle(), "ROLLBACK TO one; RELEASE one", nullptr, nullptr, nullptr);
  }
  return status;
}

std::unique_ptr<Connection> Database::open_reader() const {
  auto reader = std::make_unique<Connection>(file_.string(), SQLite::OPEN_READONLY, kBusyTimeoutMs);
  reader->exec("PRAGMA query_only = ON");
  return reader;
}

absl::Status Database::run_read(const std::function<void(Connection&)>& read) {
  return guarded("store read", [&] {
    std::unique_ptr<Connection> reader;
    {
      const std::lock_guard lock(readers_mutex_);
      if (!idle_readers_.empty()) {
        reader = std::move(idle_readers_.back());
        idle_readers_.pop_back();
      }
    }
    if (!reader) reader = open_reader();
    reader->exec("BEGIN");
    read(*reader);
    reader->exec("COMMIT");
    const std::lock_guard lock(readers_mutex_);
    if (idle_readers_.size() < kIdleReaders) idle_readers_.push_back(std::move(reader));
    return absl::OkStatus();
  });
}

}  // namespace slipway::store
