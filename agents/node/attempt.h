// One attempt on this node, from its inputs' download to the backend's release: prepares the work folder, has the
// engine launched, ships its lines, restarts it after a crash, uploads what it made. Owned by Attempts.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "agents/node/attempt_record.h"
#include "agents/node/cancellation.h"
#include "agents/node/file_tail.h"
#include "agents/node/layout.h"
#include "agents/node/link.h"
#include "agents/node/supervisor.h"
#include "agents/node/transfer.h"

namespace slipway::node {

struct AttemptEnvironment {
  Layout layout;
  std::filesystem::path engines;  // folder of slipway-prep, slipway-train, …
  const Supervisor& supervisor;
  Transfer& transfer;
  BackendLink& link;
  std::string address = {};  // where other nodes reach this one
  int cores = 1;
};

// The constructor starts the attempt's thread; the destructor ends it, but never the engine, which outlives the agent.
// The public functions queue for that thread, and return at once. Any thread.
class Attempt {
 public:
  // `record` is on disk in attempts()/ID already.
  Attempt(AttemptEnvironment environment, AttemptRecord record);
  ~Attempt();
  Attempt(const Attempt&) = delete;
  Attempt& operator=(const Attempt&) = delete;

  const std::string& id() const { return id_; }
  const std::filesystem::path& workdir() const { return workdir_; }
  bool serves() const { return serves_; }
  // The engine that runs now, if one does.
  std::optional<ProcessId> engine() const;

  // A session has begun; the backend has these bytes (by file) of the attempt. Session 0: the connection is gone.
  void welcome(uint64_t session, std::map<std::string, int64_t> positions);
  void acknowledged(const std::string& file, int64_t end_offset);
  void stop(int grace_seconds);
  // Of a gang: all ranks are prepared, and meet there (HOST:PORT).
  void meet(const std::string& meeting);
  // The backend wants no more of it: stops what runs, then finished() turns true.
  void release();

  // The agent is to end and leave nothing behind: the engine saves and leaves, and the next agent starts it again.
  void park();
  // True once no engine of the attempt runs any more.
  bool wait_until_parked(std::chrono::steady_clock::time_point deadline);
  void kill_engine();

  bool released_and_ended() const { return finished_; }
  // True while a work folder is, or may be, in use.
  bool active() const { return active_; }
  bool succeeded() const { return succeeded_; }
  // As the backend may know it: ended only once all its lines have arrived there.
  v1::AttemptStatus status() const;

 private:
  struct Inbox {
    std::optional<std::pair<uint64_t, std::map<std::string, int64_t>>> welcome;
    std::vector<std::pair<std::string, int64_t>> acknowledgements;
    std::optional<int> stop_grace_seconds;
    std::string meeting;
    bool release = false;
    bool park = false;
    bool leave = false;
  };

  void main_loop();
  void take_inbox();
  void step();
  void step_preparing();
  void step_waiting();
  void step_running();
  void step_uploading();
  void step_parking();
  bool take_work_lock();
  void launch();
  void add_rank_variables(std::map<std::string, std::string>& environment) const;
  void stop_engine();
  void engine_ended(const EngineExit& exit);
  void engine_vanished();
  bool restart_after(const std::string& what_happened);
  absl::Status prepare();
  v1::AttemptStatus upload();
  void add_returned_files(v1::AttemptStatus& status) const;
  void start_work(std::function<void()> work);
  bool work_done();
  void enter(Phase phase);
  void end(v1::AttemptStatus outcome);
  void end_before_start();
  void fail(const std::string& code, const std::string& message, const std::string& advice,
            const EngineExit& exit = {});
  void note(const std::string& text) const;
  void ship();
  void report();
  v1::AttemptStatus visible_status() const;
  bool all_acknowledged() const;
  void save();
  void save_positions();
  void wake();
  void wait(int timeout_ms);
  void watch_folders();
  int timeout_ms() const;
  std::string spec_path() const { return (folder_ / "spec.json").string(); }

  const AttemptEnvironment environment_;
  const std::string id_;
  const std::filesystem::path folder_;
  const std::filesystem::path workdir_;
  const bool serves_;

  mutable std::mutex mutex_;  // guards the five that follow
  Inbox inbox_;
  v1::AttemptStatus shown_;
  bool work_finished_ = false;
  bool parked_ = false;
  std::condition_variable parked_changed_;
  std::atomic<bool> finished_{false};
  std::atomic<bool> active_{true};
  std::atomic<bool> succeeded_{false};

  // Owned by the attempt's thread from here on.
  AttemptRecord record_;
  std::map<std::string, FileTail> tails_;
  uint64_t session_ = 0;
  std::string reported_;  // the status last sent in this session, serialised
  bool leaving_ = false;
  bool released_ = false;
  bool parking_ = false;
  bool dirty_ = false;  // acknowledgements not saved yet
  int64_t saved_at_ms_ = 0;
  int64_t launch_after_ms_ = 0;
  int64_t stop_signalled_at_ms_ = 0;
  int64_t killed_at_ms_ = 0;
  int64_t progress_at_ms_ = 0;  // of the last acknowledgement, or of the end
  int64_t unsupervised_since_ms_ = 0;
  int work_lock_ = -1;
  int wake_fd_ = -1;
  int inotify_fd_ = -1;
  Cancellation cancellation_;
  std::thread worker_;
  absl::Status prepared_;
  v1::AttemptStatus uploaded_;
  std::thread thread_;
};

}  // namespace slipway::node
