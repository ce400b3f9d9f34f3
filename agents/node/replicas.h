// The serving engines of this node that are ready: what they measure, and which adapters they have. Owned by Attempts.
#pragma once

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "agents/engine/spec/events.h"
#include "agents/node/cancellation.h"
#include "agents/node/link.h"
#include "agents/node/process.h"
#include "agents/node/transfer.h"
#include "slipway/v1/agent.pb.h"

namespace slipway::node {

// A serving engine that runs.
struct RunningReplica {
  std::string attempt_id;
  std::filesystem::path workdir;
  std::optional<ProcessId> process;
};

class Replicas {
 public:
  // Starts the thread that changes adapters: that may take as long as a download.
  Replicas(Transfer& transfer, BackendLink& link);
  ~Replicas();
  Replicas(const Replicas&) = delete;
  Replicas& operator=(const Replicas&) = delete;

  // What each of them that is ready says now; one that does not answer within half a second is left out. One thread.
  std::vector<v1::AgentMessage> sample(const std::vector<RunningReplica>& running);

  // Brings the engine's adapters to what is wanted, and reports to `session`. Queues; any thread.
  void set_adapters(uint64_t session, const std::filesystem::path& workdir, v1::SetAdapters wanted);

 private:
  struct Job {
    uint64_t session = 0;
    std::filesystem::path workdir;
    v1::SetAdapters wanted;
  };
  void work();
  void change(const Job& job);

  Transfer& transfer_;
  BackendLink& link_;
  Cancellation cancellation_;

  struct Known {
    spec::LineTail tail;
    std::string url;  // empty: not ready
  };
  std::map<std::string, Known> known_;  // of sample's thread

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  bool closing_ = false;
  std::thread worker_;
};

// The url of the last `ready` event, unless the engine was started again since; empty when there is none.
void follow_ready(const std::vector<std::string>& lines, std::string& url);

}  // namespace slipway::node
