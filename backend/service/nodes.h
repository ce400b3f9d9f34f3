// Nodes and the conversations with their agents: joining, sessions, samples, and the dispatcher that hands out work.
// The rpc adapters of AgentService and NodeService call it. Any thread.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backend/base/clock.h"
#include "backend/domain/serving.h"
#include "backend/service/agent_link.h"
#include "backend/service/conductor.h"
#include "backend/service/node_tokens.h"
#include "backend/store/database.h"
#include "backend/store/nodes.h"

namespace slipway::service {

struct NodeOptions {
  // A node is offline when it has said nothing for so long; its attempts wait for it until they are given up.
  int64_t offline_after_ms = 15'000;
  int64_t lost_after_ms = int64_t{30} * 60 * 1000;
  int64_t join_token_lifetime_ms = int64_t{24} * 3600 * 1000;
  // Samples: all of the last hour, one of each minute of the last day.
  int64_t keep_samples_ms = int64_t{24} * 3600 * 1000;
  int64_t keep_all_samples_ms = int64_t{3600} * 1000;
  int64_t sample_stride_ms = 60'000;
  // Readings of replicas: all of the last hour, one of each minute of the last week, one of each hour before.
  int64_t keep_minutes_ms = int64_t{7} * 24 * 3600 * 1000;
  // Work folders of ended runs stay on their nodes for a retry.
  int64_t keep_work_ms = int64_t{7} * 24 * 3600 * 1000;
};

// A node with what a page shows of it.
struct NodeView {
  store::Node node;
  NodeFacts facts;
  std::map<std::string, std::string> holders;  // device -> attempt that holds it
  std::optional<NodeSample> latest_sample;
};

class Nodes : public NodeTokens {
 public:
  // Starts the dispatcher's thread. All arguments must outlive this.
  Nodes(store::Database& database, const base::Clock& clock, Conductor& conductor, NodeOptions options = {});
  ~Nodes() override;

  // --- joining ---
  struct Joined {
    std::string node_id;
    std::string node_token;
  };
  absl::StatusOr<Joined> join(const std::string& join_token, const NodeFacts& facts);
  struct NewJoinToken {
    std::string token;
    int64_t expires_at_ms = 0;
  };
  absl::StatusOr<NewJoinToken> create_join_token();
  // A join token that stays valid while this process runs: DATA/local-join-token, for an agent of the same machine.
  void allow_join_token(const std::string& token);
  absl::StatusOr<std::optional<std::string>> find_node(const std::string& token_sha256) override;

  // --- sessions ---
  // The agent said Hello. Answers Welcome over the link, and from then on work.
  void open(const std::string& node_id, const NodeFacts& facts, const std::vector<AttemptReport>& attempts,
            std::shared_ptr<AgentLink> link);
  void take_lines(const std::string& node_id, LineBatch batch, std::shared_ptr<AgentLink> link);
  void take_report(const std::string& node_id, AttemptReport report, std::shared_ptr<AgentLink> link);
  void take_sample(const std::string& node_id, const NodeSample& sample);
  void take_replica_reading(const std::string& node_id, domain::ReplicaReading reading);
  void take_adapters(const std::string& node_id, AdaptersReport report);
  void closed(const std::string& node_id, const AgentLink* link);

  // --- pages ---
  static NodeView view(store::Connection& connection, const store::Node& node);
  absl::StatusOr<NodeView> get(const std::string& id);
  absl::StatusOr<store::Page<NodeView>> list(const store::PageRequest& request);
  absl::StatusOr<std::vector<NodeSample>> samples(const std::string& id, int64_t since_ms, int32_t max_points);
  absl::Status remove(const std::string& id);

  // Something was queued, stopped or released: look again. Any thread, returns at once.
  void wake();

 private:
  // What was said in the present connection to a node; said again in the next one.
  struct Session {
    std::shared_ptr<AgentLink> link;
    std::set<std::string> known;  // attempts that the agent has
    std::set<std::string> started, stopped, kept, met;
    std::map<std::string, std::string> adapters;  // attempt -> what it was told to have
  };
  // Adapters of one ready replica, and the text that tells whether that was said.
  struct AdapterOrders {
    std::string attempt_id;
    std::vector<AdapterOrder> adapters;
    std::string key;
    bool needed = false;
  };

  absl::Status reconcile(store::Transaction& transaction, const std::string& node_id, const NodeFacts& facts,
                         const std::vector<AttemptReport>& attempts, std::vector<FilePosition>& positions,
                         std::vector<std::string>& ended_here);
  static absl::StatusOr<int64_t> store_lines(store::Transaction& transaction, Conductor& conductor,
                                             const std::string& node_id, const LineBatch& batch);
  void seen(const std::string& node_id);

  // dispatcher.cpp
  void run_dispatcher();
  void dispatch();
  absl::Status watch_nodes(store::Transaction& transaction, const std::map<std::string, int64_t>& last_seen);
  absl::Status place_pending(store::Transaction& transaction);
  void send_orders();
  absl::StatusOr<std::vector<AdapterOrders>> adapter_orders(store::Connection& connection,
                                                            const std::vector<store::Attempt>& active);
  absl::Status tidy(store::Transaction& transaction);

  store::Database& database_;
  const base::Clock& clock_;
  Conductor& conductor_;
  const NodeOptions options_;
  const int64_t started_at_ms_;

  std::mutex mutex_;                             // guards what follows up to the thread
  std::map<std::string, Session> sessions_;      // by node
  std::map<std::string, int64_t> last_seen_ms_;  // by node
  std::set<std::string> standing_join_tokens_;   // SHA-256
  bool woken_ = true;
  bool closing_ = false;
  std::condition_variable wake_;
  int64_t tidied_at_ms_ = 0;  // the dispatcher's own
  std::thread dispatcher_;
};

}  // namespace slipway::service
