#include "agents/node/attempt.h"

#include <fcntl.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <utility>

#include "agents/node/address.h"
#include "agents/node/steady_clock.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::node {
namespace {

namespace fs = std::filesystem;
using v1::AttemptStatus;

constexpr std::pair<const char*, const char*> kFiles[] = {
    {"events", "events.jsonl"}, {"stdout", "stdout.log"}, {"stderr", "stderr.log"}, {"samples", "samples.jsonl"}};
// When the backend acknowledges nothing for so long after the end, the outcome is told all the same.
constexpr int64_t kAcknowledgementPatienceMs = 15'000;
constexpr int64_t kSaveIntervalMs = 2'000;

}  // namespace

Attempt::Attempt(AttemptEnvironment environment, AttemptRecord record)
    : environment_(std::move(environment)),
      id_(record.start.attempt_id()),
      folder_(environment_.layout.attempts() / as_file_name(id_)),
      workdir_(environment_.layout.work() /
               as_file_name(record.start.work_key().empty() ? id_ : record.start.work_key())),
      serves_(record.start.engine() == "serve"),
      record_(std::move(record)),
      wake_fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
      inotify_fd_(inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {
  active_ = record_.phase != Phase::kEnded;
  succeeded_ = record_.phase == Phase::kEnded && record_.outcome.state() == AttemptStatus::STATE_SUCCEEDED;
  for (const auto& [name, position] : record_.files) {
    for (const auto& [known, file] : kFiles) {
      if (name == known) tails_.emplace(name, FileTail(workdir_ / file, position.begin, position.acknowledged));
    }
  }
  progress_at_ms_ = steady_ms();
  // An engine that runs holds its work folder before any waiting attempt's thread can ask for it.
  if (record_.begun && record_.phase != Phase::kEnded) take_work_lock();
  if (record_.phase == Phase::kWaiting || record_.phase == Phase::kRunning) watch_folders();
  shown_ = visible_status();
  thread_ = std::thread([this] { main_loop(); });
}

Attempt::~Attempt() {
  {
    const std::lock_guard lock(mutex_);
    inbox_.leave = true;
  }
  cancellation_.cancel();
  wake();
  thread_.join();
  for (const int fd : {wake_fd_, inotify_fd_, work_lock_}) {
    if (fd >= 0) close(fd);
  }
}

void Attempt::welcome(uint64_t session, std::map<std::string, int64_t> positions) {
  {
    const std::lock_guard lock(mutex_);
    inbox_.acknowledgements.clear();  // of the session before
    inbox_.welcome.emplace(session, std::move(positions));
  }
  wake();
}

void Attempt::acknowledged(const std::string& file, int64_t end_offset) {
  {
    const std::lock_guard lock(mutex_);
    inbox_.acknowledgements.emplace_back(file, end_offset);
  }
  wake();
}

void Attempt::stop(int grace_seconds) {
  {
    const std::lock_guard lock(mutex_);
    inbox_.stop_grace_seconds = grace_seconds;
  }
  wake();
}

void Attempt::meet(const std::string& meeting) {
  {
    const std::lock_guard lock(mutex_);
    inbox_.meeting = meeting;
  }
  wake();
}

void Attempt::release() {
  {
    const std::lock_guard lock(mutex_);
    inbox_.release = true;
  }
  wake();
}

void Attempt::park() {
  {
    const std::lock_guard lock(mutex_);
    inbox_.park = true;
  }
  cancellation_.cancel();
  wake();
}

bool Attempt::wait_until_parked(std::chrono::steady_clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  return parked_changed_.wait_until(lock, deadline, [&] { return parked_; });
}

void Attempt::kill_engine() {
  // The thread is still there and reads the same files; this only sends a signal.
  for (int launch = 1; Supervisor::started(folder_, launch); ++launch) {
    signal_group(*Supervisor::started(folder_, launch), SIGKILL);
  }
}

std::optional<ProcessId> Attempt::engine() const {
  std::optional<ProcessId> latest;
  for (int launch = 1; const auto started = Supervisor::started(folder_, launch); ++launch) latest = started;
  return latest && is_running(*latest) ? latest : std::nullopt;
}

AttemptStatus Attempt::status() const {
  const std::lock_guard lock(mutex_);
  return shown_;
}

void Attempt::wake() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t ignored = write(wake_fd_, &one, sizeof one);
}

void Attempt::main_loop() {
  while (true) {
    take_inbox();
    if (leaving_) break;
    try {
      if (parking_) {
        step_parking();  // also when finished: whoever parks it waits to hear so
      } else if (!finished_) {
        step();
      }
    } catch (const std::exception& error) {  // base::Error: a full disk, a folder taken away
      spdlog::error("attempt step failed attempt={} error={}", id_, error.what());
      AttemptStatus outcome;
      outcome.set_state(AttemptStatus::STATE_FAILED);
      outcome.set_code("AGENT_IO");
      outcome.set_message(std::string("the agent could not keep this attempt's files: ") + error.what());
      outcome.set_advice("free some space on the node's disk, then retry");
      if (record_.phase == Phase::kRunning) {
        if (const auto engine = Supervisor::started(folder_, record_.launches)) signal_group(*engine, SIGTERM);
      }
      record_.outcome = outcome;
      record_.phase = Phase::kEnded;
      active_ = false;
    }
    ship();
    report();
    if (dirty_ && steady_ms() - saved_at_ms_ > kSaveIntervalMs) save_positions();
    if (released_ && record_.phase == Phase::kEnded) finished_ = true;
    wait(timeout_ms());
  }
  if (worker_.joinable()) worker_.join();
  if (dirty_ && !finished_) save_positions();
}

void Attempt::take_inbox() {
  Inbox inbox;
  {
    const std::lock_guard lock(mutex_);
    std::swap(inbox, inbox_);
  }
  leaving_ = leaving_ || inbox.leave;
  parking_ = parking_ || inbox.park;
  if (inbox.welcome) {
    session_ = inbox.welcome->first;
    reported_.clear();
    for (auto& [name, tail] : tails_) {
      const auto position = inbox.welcome->second.find(name);
      if (position == inbox.welcome->second.end()) {
        tail.resume();
      } else {
        tail.resume_at(position->second);
      }
    }
    progress_at_ms_ = steady_ms();
  }
  for (const auto& [name, end_offset] : inbox.acknowledgements) {
    const auto tail = tails_.find(name);
    if (tail == tails_.end()) continue;
    tail->second.acknowledge(end_offset);
    progress_at_ms_ = steady_ms();
    dirty_ = true;
  }
  if (!inbox.meeting.empty() && record_.phase == Phase::kWaiting) record_.meeting = inbox.meeting;
  released_ = released_ || inbox.release;
  const bool stop = inbox.stop_grace_seconds.has_value() || inbox.release;
  if (stop && !record_.stop_requested && record_.phase != Phase::kEnded) {
    record_.stop_requested = true;
    record_.grace_seconds = inbox.stop_grace_seconds.value_or(0);
    if (record_.grace_seconds <= 0) record_.grace_seconds = std::max(1, record_.start.limits().grace_seconds());
    if (record_.phase != Phase::kRunning) cancellation_.cancel();
    save_positions();
  }
  if (inbox.release) cancellation_.cancel();
}

void Attempt::step() {
  switch (record_.phase) {
    case Phase::kPreparing:
      return step_preparing();
    case Phase::kWaiting:
      return step_waiting();
    case Phase::kRunning:
      return step_running();
    case Phase::kUploading:
      return step_uploading();
    case Phase::kEnded:
      return;
  }
}

bool Attempt::take_work_lock() {
  if (work_lock_ >= 0) return true;
  const fs::path path = workdir_.string() + ".lock";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) throw base::system_error("open " + path.string(), errno);
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    close(fd);
    return false;
  }
  work_lock_ = fd;
  return true;
}

void Attempt::end_before_start() {
  AttemptStatus outcome;
  outcome.set_state(AttemptStatus::STATE_STOPPED);
  outcome.set_message("stopped before the engine started");
  end(std::move(outcome));
}

void Attempt::step_waiting() {
  if (record_.stop_requested) return end_before_start();
  if (!record_.meeting.empty()) launch();
}

void Attempt::step_preparing() {
  if (record_.stop_requested && !worker_.joinable()) return end_before_start();
  if (!worker_.joinable()) {
    if (!take_work_lock()) return;  // an earlier attempt on the same folder is still there
    if (!record_.begun) {
      fs::create_directories(workdir_);
      for (const auto& [name, file] : kFiles) {
        const int64_t begin = end_of_last_line(workdir_ / file);
        record_.files[name] = {begin, 0};
        tails_.emplace(name, FileTail(workdir_ / file, begin, 0));
      }
      record_.begun = true;
      save();
    }
    watch_folders();
    start_work([this] { prepared_ = prepare(); });
    return;
  }
  if (!work_done()) return;
  if (record_.stop_requested) return wake();  // ends above, at the next step
  if (prepared_.ok() && record_.start.has_gang()) {
    record_.own_meeting = environment_.address + ":" + std::to_string(free_port());
    return enter(Phase::kWaiting);
  }
  if (prepared_.ok()) return launch();
  const bool full = absl::IsResourceExhausted(prepared_);
  const bool request = absl::IsInvalidArgument(prepared_);
  fail(full      ? "DISK_FULL"
       : request ? "INVALID_REQUEST"
                 : "INPUT_NOT_AVAILABLE",
       "the work folder could not be prepared: " + std::string(prepared_.message()),
       full ? "free some space on the node's disk, then retry"
            : "check that the inputs still exist in the registry, then retry");
}

void Attempt::step_uploading() {
  if (!worker_.joinable()) {
    start_work([this] { uploaded_ = upload(); });
    return;
  }
  if (work_done()) end(std::move(uploaded_));
}

void Attempt::start_work(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    work_finished_ = false;
  }
  worker_ = std::thread([this, work = std::move(work)] {
    work();
    {
      const std::lock_guard lock(mutex_);
      work_finished_ = true;
    }
    wake();
  });
}

bool Attempt::work_done() {
  {
    const std::lock_guard lock(mutex_);
    if (!work_finished_) return false;
  }
  worker_.join();
  // Cancelled because the agent leaves: the next agent does this work again.
  const std::lock_guard lock(mutex_);
  return !inbox_.leave && !inbox_.park && !parking_;
}

void Attempt::enter(Phase phase) {
  record_.phase = phase;
  save();
  wake();  // the next step may follow at once
}

void Attempt::end(AttemptStatus outcome) {
  outcome.set_attempt_id(id_);
  spdlog::info("attempt ended attempt={} state={} code={}", id_, AttemptStatus::State_Name(outcome.state()),
               outcome.code());
  record_.outcome = std::move(outcome);
  progress_at_ms_ = steady_ms();
  enter(Phase::kEnded);
  succeeded_ = record_.outcome.state() == AttemptStatus::STATE_SUCCEEDED;
  active_ = false;
  if (work_lock_ >= 0) {
    close(work_lock_);
    work_lock_ = -1;
  }
}

void Attempt::fail(const std::string& code, const std::string& message, const std::string& advice,
                   const EngineExit& exit) {
  AttemptStatus outcome;
  outcome.set_state(AttemptStatus::STATE_FAILED);
  outcome.set_code(code);
  outcome.set_message(message);
  outcome.set_advice(advice);
  outcome.set_signal(exit.signal);
  if (exit.signal == 0 && exit.launch_error.empty() && exit.exit_code != 0) outcome.set_exit_code(exit.exit_code);
  add_returned_files(outcome);
  end(std::move(outcome));
}

void Attempt::note(const std::string& text) const {
  spdlog::warn("attempt attempt={} {}", id_, text);
  const int fd = open((workdir_ / "stderr.log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) return;
  const std::string line = "slipway-agent: " + text + "\n";
  [[maybe_unused]] const ssize_t ignored = write(fd, line.data(), line.size());
  close(fd);
}

void Attempt::ship() {
  if (session_ == 0) return;
  for (auto& [name, tail] : tails_) {
    while (auto batch = tail.next()) {
      v1::AgentMessage message;
      auto* lines = message.mutable_lines();
      lines->set_attempt_id(id_);
      lines->set_file(name);
      lines->set_offset(batch->offset);
      lines->set_end_offset(batch->end_offset);
      for (auto& line : batch->lines) lines->add_lines(std::move(line));
      const int64_t now_ms =
          std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
              .count();
      lines->mutable_time()->set_seconds(now_ms / 1000);
      lines->mutable_time()->set_nanos(static_cast<int32_t>(now_ms % 1000) * 1'000'000);
      if (!environment_.link.send(session_, std::move(message))) {
        session_ = 0;
        return;
      }
    }
  }
}

bool Attempt::all_acknowledged() const {
  return std::all_of(tails_.begin(), tails_.end(), [](const auto& entry) { return entry.second.drained(); });
}

AttemptStatus Attempt::visible_status() const {
  const bool told =
      record_.phase == Phase::kEnded &&
      (all_acknowledged() || (session_ != 0 && steady_ms() - progress_at_ms_ > kAcknowledgementPatienceMs));
  if (told) return record_.outcome;
  AttemptStatus status;
  status.set_attempt_id(id_);
  if (record_.phase == Phase::kWaiting) status.set_meeting(record_.own_meeting);
  status.set_state(record_.phase == Phase::kPreparing   ? AttemptStatus::STATE_PREPARING
                   : record_.phase == Phase::kWaiting   ? AttemptStatus::STATE_PREPARED
                   : record_.phase == Phase::kUploading ? AttemptStatus::STATE_UPLOADING
                                                        : AttemptStatus::STATE_RUNNING);
  return status;
}

void Attempt::report() {
  auto status = visible_status();
  {
    const std::lock_guard lock(mutex_);
    shown_ = status;
  }
  if (session_ == 0) return;
  std::string fingerprint = std::to_string(status.state());
  if (fingerprint == reported_) return;
  v1::AgentMessage message;
  *message.mutable_status() = std::move(status);
  if (!environment_.link.send(session_, std::move(message))) {
    session_ = 0;
    return;
  }
  reported_ = std::move(fingerprint);
}

void Attempt::save() {
  for (const auto& [name, tail] : tails_) record_.files[name] = {tail.begin(), tail.acknowledged()};
  record_.save_state(folder_);
  dirty_ = false;
  saved_at_ms_ = steady_ms();
}

void Attempt::save_positions() {
  try {
    save();
  } catch (const std::exception& error) {  // only costs some lines sent twice after a restart of the agent
    spdlog::warn("attempt state not saved attempt={} error={}", id_, error.what());
    saved_at_ms_ = steady_ms();
  }
}

void Attempt::watch_folders() {
  inotify_add_watch(inotify_fd_, workdir_.c_str(), IN_MODIFY | IN_CREATE | IN_MOVED_TO);
  inotify_add_watch(inotify_fd_, folder_.c_str(), IN_MOVED_TO);
}

int Attempt::timeout_ms() const {
  if (finished_) return 60'000;
  if (record_.phase == Phase::kEnded) return visible_status().state() == record_.outcome.state() ? 60'000 : 500;
  if (record_.phase == Phase::kRunning) return record_.restart_pending || unsupervised_since_ms_ != 0 ? 50 : 500;
  return work_lock_ < 0 ? 50 : 500;
}

void Attempt::wait(int timeout) {
  pollfd descriptors[2] = {{wake_fd_, POLLIN, 0}, {inotify_fd_, POLLIN, 0}};
  poll(descriptors, 2, timeout);
  uint64_t count = 0;
  [[maybe_unused]] ssize_t ignored = read(wake_fd_, &count, sizeof count);
  alignas(inotify_event) char events[4096];
  while (read(inotify_fd_, events, sizeof events) > 0) {
  }
}

}  // namespace slipway::node
