// The agent's connection to the backend: joins, opens the stream, and opens it again whenever it breaks.
#pragma once

#include <grpcpp/channel.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "agents/node/cancellation.h"
#include "agents/node/identity.h"
#include "agents/node/link.h"
#include "slipway/v1/agent.grpc.pb.h"

namespace slipway::node {

class Attempts;

struct SessionOptions {
  std::filesystem::path identity_file;
  // Answers a join token (from the flag, or read anew from a file); empty when there is none.
  std::function<std::string()> join_token;
  bool join_token_may_change = false;  // a refused one is then tried again
  std::chrono::milliseconds sample_interval{2000};
  std::chrono::milliseconds first_pause{100};  // before the next try after a broken session; doubles, with jitter
  std::chrono::milliseconds longest_pause{5000};
};

// send() and node_token() from any thread; run() is called once, and does everything else on its own thread and one
// more that writes.
class Session : public BackendLink {
 public:
  Session(std::shared_ptr<grpc::Channel> channel, SessionOptions options, v1::NodeFacts facts);
  ~Session() override;

  // Works until cancelled; takes a sample every interval. Ends earlier only when the backend refuses this node for
  // good.
  absl::Status run(Attempts& attempts, const std::function<v1::NodeSample()>& sample, Cancellation& cancellation);

  bool send(uint64_t session, v1::AgentMessage message) override;
  std::string node_token() const;

  static constexpr size_t kMostSamplesKept = 300;  // ten minutes of the node alone without a backend

 private:
  absl::Status join(Cancellation& cancellation);
  absl::Status run_once(Attempts& attempts, Cancellation& cancellation, bool& welcomed);
  // False when the stream broke.
  bool write_loop(grpc::ClientReaderWriter<v1::AgentMessage, v1::BackendMessage>& stream);

  const SessionOptions options_;
  const v1::NodeFacts facts_;
  const std::unique_ptr<v1::AgentService::Stub> stub_;

  mutable std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  std::optional<Identity> identity_;
  std::deque<v1::AgentMessage> outgoing_;
  std::deque<v1::AgentMessage> samples_;  // taken while there was no session
  uint64_t session_ = 0;                  // open for send(): 0 when there is none
  uint64_t last_session_ = 0;
};

// A channel to HOST:PORT: TLS when `tls_ca` names a file of trusted certificates, plain text else; notices a dead peer.
std::shared_ptr<grpc::Channel> make_channel(const std::string& address, const std::filesystem::path& tls_ca);

}  // namespace slipway::node
