#include "backend/service/watch.h"

#include <algorithm>
#include <charconv>

#include "backend/base/status.h"
#include "backend/store/replica_readings.h"

namespace slipway::service {
namespace {

constexpr int64_t kPiece = 500;

// Collects rows of several sources up to the position that all of them were read to.
class Piece {
 public:
  explicit Piece(int64_t upto) : upto_(upto) {}

  template <typename Rows, typename Convert>
  void add(const Rows& rows, Convert convert) {
    // A source that was cut may have more before the others' ends.
    if (static_cast<int64_t>(rows.size()) >= kPiece) upto_ = std::min(upto_, rows.back().position);
    for (const auto& row : rows) {
      if (row.position <= upto_) convert(row);
    }
  }
  void push(int64_t position, decltype(WatchItem::change) change) {
    piece_.items.push_back({position, std::move(change)});
  }

  WatchPiece finish() {
    std::erase_if(piece_.items, [&](const WatchItem& item) { return item.position > upto_; });
    std::sort(piece_.items.begin(), piece_.items.end(),
              [](const WatchItem& a, const WatchItem& b) { return a.position < b.position; });
    piece_.position = upto_;
    return std::move(piece_);
  }

 private:
  int64_t upto_;
  WatchPiece piece_;
};

void add_change(store::Connection& connection, const store::Change& change, bool of_run, Piece& piece) {
  if (change.kind == "run") {
    if (auto view = Runs::view(connection, change.id); view.ok()) {
      // Estimates are their page's own: no list shows them.
      if (view->run.estimate && !of_run) return;
      return piece.push(change.position, *std::move(view));
    }
  } else if (change.kind == "task_progress") {
    if (auto task = store::find_task(connection, change.id)) {
      piece.push(change.position, TaskProgress{task->run_id, *std::move(task)});
    }
    return;
  } else if (change.kind == "deployment") {
    if (const auto row = store::find_deployment(connection, change.id)) {
      return piece.push(change.position, Deployments::view(connection, *row));
    }
  } else if (change.kind == "node") {
    if (const auto row = store::find_node(connection, change.id)) {
      return piece.push(change.position, Nodes::view(connection, *row));
    }
  }
  piece.push(change.position, ListChange{change.kind, change.id});
}

}  // namespace

std::string Watches::cursor_of(int64_t position) const { return database_.store_id() + "." + std::to_string(position); }

absl::StatusOr<int64_t> Watches::position_of(const std::string& cursor) const {
  const size_t dot = cursor.rfind('.');
  int64_t position = -1;
  if (dot != std::string::npos && cursor.substr(0, dot) == database_.store_id()) {
    const char* end = cursor.data() + cursor.size();
    const auto [rest, error] = std::from_chars(cursor.data() + dot + 1, end, position);
    if (error != std::errc() || rest != end) position = -1;
  }
  if (position < 0 || position > database_.changes().position()) {
    return base::error(absl::StatusCode::kInvalidArgument, "the cursor is not one of this backend",
                       {"CURSOR_EXPIRED", "cursor", "read the lists again, and watch with an empty cursor"});
  }
  return position;
}

absl::Status Watches::check(const WatchQuery& query) {
  if (query.run_id.empty()) return absl::OkStatus();
  return database_.read([&](store::Connection& connection) -> absl::Status {
    if (store::find_run(connection, query.run_id) || store::find_deployment(connection, query.run_id)) {
      return absl::OkStatus();
    }
    return base::not_found("run", query.run_id);
  });
}

absl::StatusOr<WatchPiece> Watches::read(const WatchQuery& query, int64_t after) {
  return database_.read([&](store::Connection& connection) -> absl::StatusOr<WatchPiece> {
    // A snapshot: it holds at least what the feed has published.
    const int64_t upto = database_.changes().position();
    Piece piece(upto);
    piece.add(store::changes_after(connection, query.run_id, after, upto, kPiece),
              [&](const store::Change& change) { add_change(connection, change, !query.run_id.empty(), piece); });
    if (!query.run_id.empty()) {
      piece.add(store::events_after(connection, query.run_id, after, upto, kPiece),
                [&](const store::RunEvent& event) { piece.push(event.position, event); });
      if (query.logs) {
        piece.add(store::log_lines_after(connection, query.run_id, after, upto, kPiece),
                  [&](const store::LogLine& line) { piece.push(line.position, line); });
      }
    }
    if (query.samples) {
      piece.add(store::samples_after(connection, after, upto, kPiece), [&](const store::NodeSample& sample) {
        piece.push(sample.position, SampleOfNode{sample.node_id, node_sample_from_json(sample.sample, sample.time_ms)});
      });
    }
    if (!query.deployment_id.empty()) {
      piece.add(store::readings_after(connection, query.deployment_id, after, upto, kPiece),
                [&](const store::StoredReading& stored) {
                  const auto before = store::reading_before(connection, query.deployment_id, stored.reading.time_ms);
                  const auto sample = before ? domain::between(before->reading, stored.reading) : std::nullopt;
                  if (sample) piece.push(stored.position, SampleOfDeployment{query.deployment_id, *sample});
                });
    }
    return piece.finish();
  });
}

}  // namespace slipway::service
