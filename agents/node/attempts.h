// All attempts whose folders are on this node. The session calls it with what the backend says. Any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "agents/node/attempt.h"
#include "agents/node/replicas.h"

namespace slipway::node {

class Attempts {
 public:
  // Makes the data folders, and takes up again every attempt that an earlier agent left. Throws base::Error.
  explicit Attempts(AttemptEnvironment environment);

  // For Hello.
  std::vector<v1::AttemptStatus> statuses() const;

  void connected(uint64_t session, const v1::BackendMessage::Welcome& welcome);
  void disconnected();
  void start(const v1::StartAttempt& start, uint64_t session);
  // keep: the engine ends its work early and keeps the result, rather than saving for later.
  void stop(const std::string& attempt_id, int grace_seconds, bool keep);
  void meet(const v1::Meet& message);
  void acknowledged(const v1::LinesAcknowledged& message);
  void release(const std::string& attempt_id);
  void set_adapters(const v1::SetAdapters& wanted, uint64_t session);

  // What the serving engines measure now. Called by one thread.
  std::vector<v1::AgentMessage> sample_replicas();

  // Deletes what was released and has ended. Work folders of attempts that did not succeed stay for kKeepDays, so that
  // a retry goes on from their checkpoints. To be called now and then.
  void collect();

  size_t size() const;

  // Asks all engines to save and leave, for the next agent to start them again where they were; waits for `grace`.
  void park(std::chrono::milliseconds grace);

  static constexpr int kKeepDays = 7;

 private:
  void remove_stale_work();

  const AttemptEnvironment environment_;
  mutable std::mutex mutex_;
  std::map<std::string, std::unique_ptr<Attempt>> attempts_;
  Replicas replicas_;
};

}  // namespace slipway::node
