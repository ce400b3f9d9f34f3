// What a watch stream sends: everything that came after a position, read in bounded pieces. Called by the adapter of
// EventService. Any thread.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "backend/service/deployments.h"
#include "backend/service/nodes.h"
#include "backend/service/runs.h"

namespace slipway::service {

struct WatchQuery {
  std::string run_id;  // empty: the changes of all runs, deployments, nodes and lists
  bool logs = false;
  bool samples = false;
  std::string deployment_id;  // its samples too
};

struct TaskProgress {
  std::string run_id;
  store::Task task;
};
struct SampleOfNode {
  std::string node_id;
  NodeSample sample;
};
struct SampleOfDeployment {
  std::string deployment_id;
  domain::ServingSample sample;
};
struct ListChange {
  std::string kind;
  std::string id;
};
struct WatchItem {
  int64_t position = 0;
  std::variant<RunView, DeploymentView, NodeView, store::RunEvent, store::LogLine, SampleOfNode, TaskProgress,
               SampleOfDeployment, ListChange>
      change;
};
struct WatchPiece {
  std::vector<WatchItem> items;  // by position
  int64_t position = 0;          // everything up to here is in it
};

class Watches {
 public:
  explicit Watches(store::Database& database) : database_(database) {}

  store::ChangeFeed& feed() { return database_.changes(); }
  // Opaque text of a position, and back: it holds the store's id. INVALID_ARGUMENT (CURSOR_EXPIRED) for another
  // store's.
  std::string cursor_of(int64_t position) const;
  absl::StatusOr<int64_t> position_of(const std::string& cursor) const;

  absl::Status check(const WatchQuery& query);
  // The next piece after `after`; nothing is left when its position is the feed's.
  absl::StatusOr<WatchPiece> read(const WatchQuery& query, int64_t after);

 private:
  store::Database& database_;
};

}  // namespace slipway::service
