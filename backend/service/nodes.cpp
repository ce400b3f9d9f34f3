#include "backend/service/nodes.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "backend/base/ids.h"
#include "backend/base/sha256.h"
#include "backend/base/status.h"
#include "backend/store/lines.h"
#include "backend/store/replica_readings.h"

namespace slipway::service {
namespace {

using domain::AttemptState;

constexpr size_t kMaxDevices = 256;
constexpr size_t kMaxTextBytes = 1000;
constexpr int32_t kMaxSamplePoints = 2000;
const char* const kFiles[] = {"events", "stdout", "stderr", "samples"};

absl::Status check_facts(const NodeFacts& facts) {
  if (facts.name.empty() || facts.name.size() > kMaxTextBytes) {
    return base::invalid_argument("facts.name", "the node has no name, or a name over 1,000 bytes",
                                  "set the host's name");
  }
  if (facts.devices.size() > kMaxDevices) {
    return base::invalid_argument("facts.devices", "more than 256 devices", "update slipway-agent");
  }
  return absl::OkStatus();
}

// Lines of the batch that come after `stored`; nullopt when the batch does not fit on to what is stored.
std::optional<size_t> lines_to_skip(const LineBatch& batch, int64_t stored) {
  if (batch.offset == stored) return 0;
  if (batch.offset > stored) return std::nullopt;
  int64_t at = batch.offset;
  for (size_t i = 0; i < batch.lines.size(); ++i) {
    at += static_cast<int64_t>(batch.lines[i].size()) + 1;
    if (at == stored) return i + 1;
  }
  return std::nullopt;
}

}  // namespace

Nodes::Nodes(store::Database& database, const base::Clock& clock, Conductor& conductor, NodeOptions options)
    : database_(database), clock_(clock), conductor_(conductor), options_(options), started_at_ms_(clock.now_ms()) {
  dispatcher_ = std::thread([this] { run_dispatcher(); });
}

Nodes::~Nodes() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake_.notify_all();
  dispatcher_.join();
  // Writes that were posted still refer to this.
  const absl::Status drained = database_.write([](store::Transaction&) { return absl::OkStatus(); });
  if (!drained.ok()) spdlog::error("store failed while closing error={}", drained.ToString());
}

void Nodes::wake() {
  {
    const std::lock_guard lock(mutex_);
    woken_ = true;
  }
  wake_.notify_all();
}

void Nodes::seen(const std::string& node_id) {
  const std::lock_guard lock(mutex_);
  last_seen_ms_[node_id] = clock_.now_ms();
}

absl::StatusOr<Nodes::Joined> Nodes::join(const std::string& join_token, const NodeFacts& facts) {
  const absl::Status checked = check_facts(facts);
  if (!checked.ok()) return checked;
  const std::string join_sha256 = base::sha256_hex(join_token);
  bool standing = false;
  {
    const std::lock_guard lock(mutex_);
    standing = standing_join_tokens_.contains(join_sha256);
  }
  Joined joined;
  joined.node_token = "sln_" + base::random_secret();
  const absl::Status status = database_.write([&](store::Transaction& transaction) -> absl::Status {
    if (!standing && !store::take_join_token(transaction.connection(), join_sha256, transaction.now_ms())) {
      return base::error(absl::StatusCode::kUnauthenticated, "the join token is not valid, or was used already",
                         {"INVALID_JOIN_TOKEN", "join_token", "make a new one on the Nodes page"});
    }
    store::Node node;
    node.id = base::new_id("node", transaction.now_ms());
    node.name = facts.name;
    node.facts = to_json(facts);
    node.joined_at_ms = node.last_seen_at_ms = transaction.now_ms();
    store::put_node(transaction.connection(), node);
    store::set_node_token(transaction.connection(), node.id, base::sha256_hex(joined.node_token));
    transaction.changed("node", node.id);
    joined.node_id = node.id;
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return joined;
}

absl::StatusOr<Nodes::NewJoinToken> Nodes::create_join_token() {
  NewJoinToken token{"slj_" + base::random_secret(), clock_.now_ms() + options_.join_token_lifetime_ms};
  const absl::Status status = database_.write([&](store::Transaction& transaction) {
    store::insert_join_token(transaction.connection(), base::sha256_hex(token.token), token.expires_at_ms);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return token;
}

void Nodes::allow_join_token(const std::string& token) {
  const std::lock_guard lock(mutex_);
  standing_join_tokens_.insert(base::sha256_hex(token));
}

absl::StatusOr<std::optional<std::string>> Nodes::find_node(const std::string& token_sha256) {
  return database_.read([&](store::Connection& connection) -> absl::StatusOr<std::optional<std::string>> {
    return store::find_node_by_token(connection, token_sha256);
  });
}

void Nodes::open(const std::string& node_id, const NodeFacts& facts, const std::vector<AttemptReport>& attempts,
                 std::shared_ptr<AgentLink> link) {
  seen(node_id);
  auto positions = std::make_shared<std::vector<FilePosition>>();
  auto ended_here = std::make_shared<std::vector<std::string>>();
  auto known = std::make_shared<std::set<std::string>>();
  for (const AttemptReport& report : attempts) known->insert(report.attempt_id);
  database_.post(
      [=, this](store::Transaction& transaction) {
        return reconcile(transaction, node_id, facts, attempts, *positions, *ended_here);
      },
      [=, this](const absl::Status& status) {
        if (!status.ok()) {
          spdlog::warn("session refused node={} error={}", node_id, status.ToString());
          return link->close(std::string(status.message()));
        }
        // Before the dispatcher can find the link: Welcome comes first.
        link->welcome(node_id, *positions);
        for (const std::string& attempt_id : *ended_here) link->stop(attempt_id, 0, false);
        std::shared_ptr<AgentLink> replaced;
        {
          const std::lock_guard lock(mutex_);
          Session& session = sessions_[node_id];
          replaced = std::exchange(session.link, link);
          session.known = *known;
          session.started.clear();
          // The agent may have missed these: it is told again.
          session.stopped.clear();
          session.kept.clear();
          session.met.clear();
          session.adapters.clear();
        }
        if (replaced && replaced != link) replaced->close("the agent has opened another session");
        spdlog::info("session open node={} attempts={}", node_id, known->size());
        wake();
      });
}

absl::Status Nodes::reconcile(store::Transaction& transaction, const std::string& node_id, const NodeFacts& facts,
                              const std::vector<AttemptReport>& attempts, std::vector<FilePosition>& positions,
                              std::vector<std::string>& ended_here) {
  store::Connection& connection = transaction.connection();
  auto node = store::find_node(connection, node_id);
  if (!node) return base::not_found("node", node_id);
  const absl::Status checked = check_facts(facts);
  if (!checked.ok()) return checked;
  node->name = facts.name;
  node->facts = to_json(facts);
  node->online = true;
  node->last_seen_at_ms = transaction.now_ms();
  store::put_node(connection, *node);
  transaction.changed("node", node_id);

  std::set<std::string> known;
  for (const AttemptReport& report : attempts) {
    known.insert(report.attempt_id);
    const auto attempt = store::find_attempt(connection, report.attempt_id);
    if (!attempt || attempt->node_id != node_id || attempt->released) continue;  // released by the dispatcher
    const absl::Status status = conductor_.report(transaction, *attempt, report);
    if (!status.ok()) return status;
    // Given up here while the node was away: another attempt has its place, and this one must not go on.
    if (is_final(attempt->state)) ended_here.push_back(attempt->id);
    for (const char* file : kFiles)
      positions.push_back({attempt->id, file, store::file_end(connection, attempt->id, file)});
  }
  for (const store::Attempt& attempt : store::active_attempts(connection, node_id)) {
    // One that was given out but never seen there is given out again.
    if (known.contains(attempt.id) || attempt.state == AttemptState::kStarting) continue;
    const absl::Status status =
        conductor_.lose(transaction, attempt, "node " + node->name + " no longer knows the attempt");
    if (!status.ok()) return status;
  }
  return conductor_.advance_replicas_of(transaction, node_id);
}

absl::StatusOr<int64_t> Nodes::store_lines(store::Transaction& transaction, Conductor& conductor,
                                           const std::string& node_id, const LineBatch& batch) {
  store::Connection& connection = transaction.connection();
  const auto attempt = store::find_attempt(connection, batch.attempt_id);
  // Nobody waits for these: the agent may forget them.
  if (!attempt || attempt->node_id != node_id || attempt->released) return batch.end_offset;
  if (std::none_of(std::begin(kFiles), std::end(kFiles), [&](const char* file) { return batch.file == file; })) {
    return batch.end_offset;
  }
  const int64_t stored = store::file_end(connection, batch.attempt_id, batch.file);
  if (batch.end_offset <= stored || batch.offset < 0) return stored;
  const auto skip = lines_to_skip(batch, stored);
  if (!skip) return stored;  // the agent goes on from there
  const std::vector<std::string> lines(batch.lines.begin() + static_cast<std::ptrdiff_t>(*skip), batch.lines.end());
  if (batch.file == "events") {
    for (const std::string& line : lines) {
      const absl::Status status = conductor.take_event(transaction, attempt->id, line, batch.time_ms);
      if (!status.ok()) return status;
    }
  } else if (batch.file == "samples") {
    for (const std::string& line : lines) {
      store::RunEvent sample;
      sample.time_ms = batch.time_ms;
      sample.type = "sample";
      sample.json = line;
      store::insert_event(transaction, {attempt->scope_id(), attempt->owner_id(), attempt->id}, sample);
    }
  } else {
    store::insert_log_lines(transaction, {attempt->scope_id(), attempt->owner_id(), attempt->id}, batch.file,
                            batch.time_ms, lines);
  }
  store::set_file_end(connection, batch.attempt_id, batch.file, batch.end_offset);
  return batch.end_offset;
}

void Nodes::take_lines(const std::string& node_id, LineBatch batch, std::shared_ptr<AgentLink> link) {
  seen(node_id);
  auto kept = std::make_shared<LineBatch>(std::move(batch));
  auto stored = std::make_shared<int64_t>(0);
  database_.post(
      [=, this](store::Transaction& transaction) {
        const auto end = store_lines(transaction, conductor_, node_id, *kept);
        if (end.ok()) *stored = *end;
        return end.status();
      },
      [=, this](const absl::Status& status) {
        if (!status.ok()) {
          // Not acknowledged: the agent sends it again in its next session.
          spdlog::error("lines not stored attempt={} file={} error={}", kept->attempt_id, kept->file,
                        status.ToString());
          return link->close(std::string(status.message()));
        }
        link->acknowledge({kept->attempt_id, kept->file, *stored});
        if (kept->file == "events") wake();
      });
}

void Nodes::take_report(const std::string& node_id, AttemptReport report, std::shared_ptr<AgentLink> link) {
  seen(node_id);
  {
    const std::lock_guard lock(mutex_);
    const auto session = sessions_.find(node_id);
    if (session != sessions_.end() && session->second.link == link) session->second.known.insert(report.attempt_id);
  }
  auto kept = std::make_shared<AttemptReport>(std::move(report));
  database_.post(
      [=, this](store::Transaction& transaction) -> absl::Status {
        const auto attempt = store::find_attempt(transaction.connection(), kept->attempt_id);
        if (!attempt || attempt->node_id != node_id || attempt->released) return absl::OkStatus();
        return conductor_.report(transaction, *attempt, *kept);
      },
      [=, this](const absl::Status& status) {
        if (!status.ok()) {
          spdlog::error("report not stored attempt={} error={}", kept->attempt_id, status.ToString());
          return link->close(std::string(status.message()));
        }
        wake();
      });
}

void Nodes::take_sample(const std::string& node_id, const NodeSample& sample) {
  seen(node_id);
  database_.post(
      [=](store::Transaction& transaction) -> absl::Status {
        auto node = store::find_node(transaction.connection(), node_id);
        if (!node) return absl::OkStatus();
        // The agent's clock may be anywhere: time is ours when it is off by more than a minute.
        const bool plausible = std::abs(sample.time_ms - transaction.now_ms()) < 60'000;
        store::insert_sample(transaction, node_id, plausible ? sample.time_ms : transaction.now_ms(), to_json(sample));
        return absl::OkStatus();
      },
      [node_id](const absl::Status& status) {
        if (!status.ok()) spdlog::error("sample not stored node={} error={}", node_id, status.ToString());
      });
}

void Nodes::take_replica_reading(const std::string& node_id, domain::ReplicaReading reading) {
  seen(node_id);
  database_.post(
      [=](store::Transaction& transaction) -> absl::Status {
        const auto attempt = store::find_attempt(transaction.connection(), reading.attempt_id);
        if (!attempt || attempt->node_id != node_id || attempt->deployment_id.empty()) return absl::OkStatus();
        if (!store::find_deployment(transaction.connection(), attempt->deployment_id)) return absl::OkStatus();
        domain::ReplicaReading timed = reading;
        const bool plausible = std::abs(timed.time_ms - transaction.now_ms()) < 60'000;
        if (!plausible) timed.time_ms = transaction.now_ms();
        // The first reading of a replica says its limits.
        const auto before = store::latest_reading(transaction.connection(), attempt->deployment_id);
        if (!before || before->reading.attempt_id != attempt->id) {
          transaction.changed("deployment", attempt->deployment_id, attempt->run_id);
        }
        store::insert_reading(transaction, attempt->deployment_id, timed);
        return absl::OkStatus();
      },
      [node_id](const absl::Status& status) {
        if (!status.ok()) spdlog::error("reading not stored node={} error={}", node_id, status.ToString());
      });
}

void Nodes::take_adapters(const std::string& node_id, AdaptersReport report) {
  seen(node_id);
  database_.post(
      [=, this](store::Transaction& transaction) -> absl::Status {
        const auto attempt = store::find_attempt(transaction.connection(), report.attempt_id);
        if (!attempt || attempt->node_id != node_id) return absl::OkStatus();
        return conductor_.take_adapters(transaction, *attempt, report);
      },
      [node_id](const absl::Status& status) {
        if (!status.ok()) spdlog::error("adapters not stored node={} error={}", node_id, status.ToString());
      });
}

void Nodes::closed(const std::string& node_id, const AgentLink* link) {
  std::shared_ptr<AgentLink> ended;  // destroyed outside the lock
  const std::lock_guard lock(mutex_);
  const auto session = sessions_.find(node_id);
  if (session == sessions_.end() || session->second.link.get() != link) return;
  ended = std::move(session->second.link);
  sessions_.erase(session);
  spdlog::info("session closed node={}", node_id);
}

NodeView Nodes::view(store::Connection& connection, const store::Node& node) {
  NodeView view;
  view.node = node;
  view.facts = node_facts_from_json(node.facts);
  for (const store::Attempt& attempt : store::active_attempts(connection, node.id)) {
    // Replicas share the CPU: a task shows first.
    std::string& holder = view.holders[attempt.device];
    if (holder.empty() || !attempt.task_id.empty()) holder = attempt.id;
  }
  if (const auto sample = store::latest_sample(connection, node.id)) {
    view.latest_sample = node_sample_from_json(sample->sample, sample->time_ms);
    view.node.last_seen_at_ms = std::max(view.node.last_seen_at_ms, sample->time_ms);
  }
  return view;
}

absl::StatusOr<NodeView> Nodes::get(const std::string& id) {
  return database_.read([&](store::Connection& connection) -> absl::StatusOr<NodeView> {
    const auto node = store::find_node(connection, id);
    if (!node) return base::not_found("node", id);
    return view(connection, *node);
  });
}

absl::StatusOr<store::Page<NodeView>> Nodes::list(const store::PageRequest& request) {
  return database_.read([&](store::Connection& connection) -> absl::StatusOr<store::Page<NodeView>> {
    const auto page = store::list_nodes(connection, request);
    if (!page.ok()) return page.status();
    store::Page<NodeView> views;
    views.next_page_token = page->next_page_token;
    views.total = page->total;
    for (const store::Node& node : page->rows) views.rows.push_back(view(connection, node));
    return views;
  });
}

absl::StatusOr<std::vector<NodeSample>> Nodes::samples(const std::string& id, int64_t since_ms, int32_t max_points) {
  return database_.read([&](store::Connection& connection) -> absl::StatusOr<std::vector<NodeSample>> {
    if (!store::find_node(connection, id)) return base::not_found("node", id);
    const int64_t points = max_points <= 0 ? kMaxSamplePoints : std::min(max_points, kMaxSamplePoints);
    std::vector<NodeSample> samples;
    for (const store::NodeSample& sample : store::list_samples(connection, id, since_ms, points)) {
      samples.push_back(node_sample_from_json(sample.sample, sample.time_ms));
    }
    return samples;
  });
}

absl::Status Nodes::remove(const std::string& id) {
  return database_.write([&](store::Transaction& transaction) -> absl::Status {
    const auto node = store::find_node(transaction.connection(), id);
    if (!node) return base::not_found("node", id);
    if (node->online) {
      return base::failed_precondition("NODE_ONLINE", "node " + node->name + " is online",
                                       "stop its slipway-agent first, and wait until it is offline");
    }
    for (const store::Attempt& attempt : store::active_attempts(transaction.connection(), id)) {
      const absl::Status status = conductor_.lose(transaction, attempt, "node " + node->name + " was removed");
      if (!status.ok()) return status;
    }
    store::delete_node(transaction.connection(), id);
    transaction.changed("node", id);
    return absl::OkStatus();
  });
}

}  // namespace slipway::service
