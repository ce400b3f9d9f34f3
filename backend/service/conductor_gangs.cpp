// Gangs: attempts whose ranks have a device each. Rank 0's row stands for the attempt; when another rank is lost, all
// end, and the task is tried again from rank 0's last checkpoint. See conductor.h.
#include "backend/base/ids.h"
#include "backend/service/conductor.h"
#include "backend/store/nodes.h"

namespace slipway::service {
namespace {

using domain::AttemptState;
using workflows::Json;

constexpr char kRankLost[] = "RANK_LOST";  // as slipway-train says it

AttemptState state_of(AttemptReport::State state) {
  switch (state) {
    case AttemptReport::State::kSucceeded:
      return AttemptState::kSucceeded;
    case AttemptReport::State::kFailed:
      return AttemptState::kFailed;
    case AttemptReport::State::kStopped:
      return AttemptState::kStopped;
    case AttemptReport::State::kRunning:
    case AttemptReport::State::kUploading:
      return AttemptState::kRunning;
    case AttemptReport::State::kPreparing:
    case AttemptReport::State::kPrepared:
      break;
  }
  return AttemptState::kStarting;
}

}  // namespace

void Conductor::form_gang(store::Transaction& transaction, const store::Attempt& leader,
                          const std::vector<domain::Placement>& placements) {
  Json order = Json::parse(leader.order_json);
  // What comes of the training is rank 0's.
  order["upload_artifacts"] = order["return_files"] = Json::array();
  for (const domain::Placement& placement : placements) {
    if (placement.rank == 0) continue;
    store::Attempt rank = leader;
    rank.id = base::new_id("attempt", transaction.now_ms());
    rank.leader_id = leader.id;
    rank.rank = placement.rank;
    rank.order_json = order.dump();
    rank.work_key = leader.work_key + "-rank" + std::to_string(placement.rank);
    rank.state = AttemptState::kStarting;
    rank.node_id = placement.node_id;
    rank.device = placement.device_id;
    store::insert_attempt(transaction.connection(), rank);
    store::update_attempt(transaction.connection(), rank);
    transaction.changed("node", placement.node_id);
  }
}

absl::Status Conductor::report_rank(store::Transaction& transaction, store::Attempt rank, const AttemptReport& report) {
  const AttemptState state = state_of(report.state);
  if (is_final(state)) return end_rank(transaction, std::move(rank), state, report);
  if (rank.state == state) return absl::OkStatus();
  rank.state = state;
  if (state == AttemptState::kRunning) rank.started_at_ms = transaction.now_ms();
  store::update_attempt(transaction.connection(), rank);
  transaction.changed("run", rank.run_id, rank.run_id);
  return absl::OkStatus();
}

absl::Status Conductor::end_rank(store::Transaction& transaction, store::Attempt rank, AttemptState state,
                                 const AttemptReport& report) {
  store::Connection& connection = transaction.connection();
  rank.state = state;
  rank.finished_at_ms = transaction.now_ms();
  rank.exit_code = report.exit_code;
  if (state != AttemptState::kSucceeded && !rank.stop_asked) rank.error = failure_of(rank, report);
  store::update_attempt(connection, rank);
  transaction.changed("run", rank.run_id, rank.run_id);
  auto leader = store::find_attempt(connection, rank.leader_id);
  const bool expected = state == AttemptState::kSucceeded || rank.stop_asked;
  if (!leader || is_final(leader->state) || expected) return absl::OkStatus();
  const auto node = store::find_node(connection, rank.node_id);
  const std::string what = "rank " + std::to_string(rank.rank) + " on node " + (node ? node->name : rank.node_id) +
                           " is lost: " + rank.error.message;
  note(transaction, rank.run_id, rank.task_id, leader->id, "attempt", what);
  leader->broken = true;
  if (leader->error.empty()) leader->error = {kRankLost, what, rank.error.advice};
  store::update_attempt(connection, *leader);
  stop_ranks(transaction, leader->id);
  return absl::OkStatus();
}

void Conductor::stop_ranks(store::Transaction& transaction, const std::string& leader_id) {
  for (store::Attempt& rank : store::ranks_of(transaction.connection(), leader_id)) {
    if (is_final(rank.state) || rank.stop_asked) continue;
    rank.stop_asked = true;
    store::update_attempt(transaction.connection(), rank);
  }
}

}  // namespace slipway::service
