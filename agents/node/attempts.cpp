#include "agents/node/attempts.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::node {
namespace {
namespace fs = std::filesystem;
// In a work folder: an engine that trains ends after the step it is at, and keeps what it has learned.
constexpr char kFinishFile[] = "finish";
}  // namespace

Attempts::Attempts(AttemptEnvironment environment)
    : environment_(std::move(environment)), replicas_(environment_.transfer, environment_.link) {
  fs::create_directories(environment_.layout.attempts());
  fs::create_directories(environment_.layout.work());
  std::vector<AttemptRecord> records;
  for (const auto& entry : fs::directory_iterator(environment_.layout.attempts())) {
    auto record = AttemptRecord::load(entry.path());
    if (!record.ok()) {  // cut down while it was made: the backend has heard nothing of it
      spdlog::warn("attempt folder dropped reason={}", std::string(record.status().message()));
      std::error_code ignored;
      fs::remove_all(entry.path(), ignored);
      continue;
    }
    records.push_back(*std::move(record));
  }
  // Those that run first: they hold their work folders before anyone else may ask.
  std::stable_sort(records.begin(), records.end(), [](const auto& a, const auto& b) {
    return (a.phase != Phase::kPreparing) > (b.phase != Phase::kPreparing);
  });
  for (auto& record : records) {
    const std::string id = record.start.attempt_id();
    spdlog::info("attempt taken up again attempt={}", id);
    attempts_[id] = std::make_unique<Attempt>(environment_, std::move(record));
  }
  remove_stale_work();
}

std::vector<v1::AttemptStatus> Attempts::statuses() const {
  const std::lock_guard lock(mutex_);
  std::vector<v1::AttemptStatus> statuses;
  for (const auto& [id, attempt] : attempts_) statuses.push_back(attempt->status());
  return statuses;
}

void Attempts::connected(uint64_t session, const v1::BackendMessage::Welcome& welcome) {
  const std::lock_guard lock(mutex_);
  std::map<std::string, std::map<std::string, int64_t>> positions;
  for (const auto& position : welcome.positions()) {
    positions[position.attempt_id()][position.file()] = position.end_offset();
  }
  for (const auto& [id, attempt] : attempts_) attempt->welcome(session, positions[id]);
}

void Attempts::disconnected() {
  const std::lock_guard lock(mutex_);
  for (const auto& [id, attempt] : attempts_) attempt->welcome(0, {});
}

void Attempts::start(const v1::StartAttempt& start, uint64_t session) {
  const std::lock_guard lock(mutex_);
  if (const auto known = attempts_.find(start.attempt_id()); known != attempts_.end()) {
    known->second->welcome(session, {});  // said twice: tells its state again
    return;
  }
  AttemptRecord record;
  record.start = start;
  record.grace_seconds = std::max(1, start.limits().grace_seconds());
  const fs::path folder = environment_.layout.attempts() / as_file_name(start.attempt_id());
  try {
    if (start.attempt_id().empty()) throw base::Error(base::kInvalidSpec, "the attempt has no id");
    fs::create_directories(folder);
    record.save_state(folder);
    record.save_start(folder);
    auto& attempt = attempts_[start.attempt_id()] = std::make_unique<Attempt>(environment_, std::move(record));
    attempt->welcome(session, {});
  } catch (const std::exception& error) {
    spdlog::error("attempt not started attempt={} error={}", start.attempt_id(), error.what());
    std::error_code ignored;
    if (!start.attempt_id().empty()) fs::remove_all(folder, ignored);
    v1::AgentMessage message;
    auto* status = message.mutable_status();
    status->set_attempt_id(start.attempt_id());
    status->set_state(v1::AttemptStatus::STATE_FAILED);
    status->set_code("AGENT_IO");
    status->set_message(std::string("the node could not keep the attempt: ") + error.what());
    status->set_advice("free some space on the node's disk, then retry");
    environment_.link.send(session, std::move(message));
  }
}

void Attempts::stop(const std::string& attempt_id, int grace_seconds, bool keep) {
  const std::lock_guard lock(mutex_);
  const auto found = attempts_.find(attempt_id);
  if (found == attempts_.end()) return;
  if (!keep) return found->second->stop(grace_seconds);
  try {
    base::write_file_atomically(found->second->workdir() / kFinishFile, "", 0644);
  } catch (const base::Error& error) {
    spdlog::error("engine not asked to finish attempt={} error={}", attempt_id, error.what());
  }
}

void Attempts::meet(const v1::Meet& message) {
  const std::lock_guard lock(mutex_);
  const auto found = attempts_.find(message.attempt_id());
  if (found != attempts_.end()) found->second->meet(message.meeting());
}

void Attempts::set_adapters(const v1::SetAdapters& wanted, uint64_t session) {
  const std::lock_guard lock(mutex_);
  const auto found = attempts_.find(wanted.attempt_id());
  if (found != attempts_.end()) replicas_.set_adapters(session, found->second->workdir(), wanted);
}

std::vector<v1::AgentMessage> Attempts::sample_replicas() {
  std::vector<RunningReplica> running;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, attempt] : attempts_) {
      if (attempt->serves() && attempt->active()) running.push_back({id, attempt->workdir(), attempt->engine()});
    }
  }
  return replicas_.sample(running);
}

void Attempts::acknowledged(const v1::LinesAcknowledged& message) {
  const std::lock_guard lock(mutex_);
  const auto found = attempts_.find(message.attempt_id());
  if (found != attempts_.end()) found->second->acknowledged(message.file(), message.end_offset());
}

void Attempts::release(const std::string& attempt_id) {
  const std::lock_guard lock(mutex_);
  if (const auto found = attempts_.find(attempt_id); found != attempts_.end()) found->second->release();
}

void Attempts::collect() {
  const std::lock_guard lock(mutex_);
  for (auto entry = attempts_.begin(); entry != attempts_.end();) {
    if (!entry->second->released_and_ended()) {
      ++entry;
      continue;
    }
    const std::string id = entry->first;
    const fs::path workdir = entry->second->workdir();
    const bool succeeded = entry->second->succeeded();
    entry = attempts_.erase(entry);
    const bool used = std::any_of(attempts_.begin(), attempts_.end(),
                                  [&](const auto& other) { return other.second->workdir() == workdir; });
    std::error_code failure;
    fs::remove_all(environment_.layout.attempts() / as_file_name(id), failure);
    if (succeeded && !used) {
      fs::remove_all(workdir, failure);
      fs::remove(workdir.string() + ".lock", failure);
    }
    spdlog::info("attempt released attempt={} work_folder_kept={}", id, !succeeded || used);
    environment_.transfer.trim();
    remove_stale_work();
  }
}

size_t Attempts::size() const {
  const std::lock_guard lock(mutex_);
  return attempts_.size();
}

void Attempts::park(std::chrono::milliseconds grace) {
  const std::lock_guard lock(mutex_);
  for (const auto& [id, attempt] : attempts_) attempt->park();
  const auto deadline = std::chrono::steady_clock::now() + grace;
  for (const auto& [id, attempt] : attempts_) {
    if (!attempt->wait_until_parked(deadline)) {
      spdlog::warn("engine does not leave attempt={} grace_ms={}", id, grace.count());
      attempt->kill_engine();
    }
  }
}

void Attempts::remove_stale_work() {
  const auto oldest = fs::file_time_type::clock::now() - std::chrono::hours(24 * kKeepDays);
  std::error_code failure;
  for (const auto& entry : fs::directory_iterator(environment_.layout.work(), failure)) {
    if (!entry.is_directory(failure)) continue;
    const bool used = std::any_of(attempts_.begin(), attempts_.end(),
                                  [&](const auto& other) { return other.second->workdir() == entry.path(); });
    if (used || entry.last_write_time(failure) > oldest) continue;
    fs::remove_all(entry.path(), failure);
    fs::remove(entry.path().string() + ".lock", failure);
  }
}

}  // namespace slipway::node
