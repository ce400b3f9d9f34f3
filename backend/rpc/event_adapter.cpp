#include "backend/rpc/event_adapter.h"

#include <grpcpp/alarm.h>

#include <chrono>
#include <deque>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <utility>

#include "backend/rpc/times.h"
#include "backend/rpc/unary.h"
#include "backend/rpc/views.h"

namespace slipway::rpc {
namespace {

using v1::WatchResponse;

struct FillChange {
  WatchResponse* response;

  void operator()(const service::RunView& view) const { fill(view, response->mutable_run()); }
  void operator()(const service::DeploymentView& view) const { fill(view, response->mutable_deployment()); }
  void operator()(const service::NodeView& view) const { fill(view, response->mutable_node()); }
  void operator()(const store::RunEvent& event) const { fill(event, response->mutable_event()); }
  void operator()(const store::LogLine& line) const { fill(line, response->mutable_log_line()); }
  void operator()(const service::SampleOfNode& sample) const {
    response->mutable_sample()->set_node_id(sample.node_id);
    fill(sample.sample, response->mutable_sample()->mutable_sample());
  }
  void operator()(const service::TaskProgress& progress) const {
    response->mutable_progress()->set_run_id(progress.run_id);
    response->mutable_progress()->set_task(progress.task.name);
    fill_progress(progress.task, response->mutable_progress()->mutable_progress());
  }
  void operator()(const service::SampleOfDeployment& sample) const {
    response->mutable_deployment_sample()->set_deployment_id(sample.deployment_id);
    fill(sample.sample, response->mutable_deployment_sample()->mutable_sample());
  }
  void operator()(const service::ListChange& change) const {
    response->mutable_list()->set_kind(change.kind);
    response->mutable_list()->set_id(change.id);
  }
};

// A metric event goes out twice: as the engine's event, and as numbers for the charts.
bool fill_metric(const std::string& run_id, const store::RunEvent& event, v1::MetricChange* message) {
  const auto content = nlohmann::json::parse(event.json, nullptr, false);
  if (!content.is_object() || !content.contains("values") || !content["values"].is_object()) return false;
  message->set_run_id(run_id);
  message->set_task(event.task_name);
  const auto step = content.find("step");
  if (step != content.end() && step->is_number()) message->set_step(static_cast<int64_t>(step->get<double>()));
  for (const auto& [name, value] : content["values"].items()) {
    if (value.is_number()) (*message->mutable_values())[name] = value.get<double>();
  }
  return true;
}

// One watcher. The store is read on a worker, one reader at a time; messages are written one after the other. It is
// held by itself (self_) while the stream lives, and by the worker while that reads.
class WatchReactor final : public grpc::ServerWriteReactor<WatchResponse> {
 public:
  WatchReactor(grpc::CallbackServerContext* context, Gate gate, service::Watches& watches, service::WatchQuery query,
               std::string cursor, int keep_alive_ms)
      : gate_(gate),
        watches_(watches),
        query_(std::move(query)),
        cursor_(std::move(cursor)),
        keep_alive_ms_(keep_alive_ms) {
    self_ = std::shared_ptr<WatchReactor>(this);
    gate_.workers.post([self = self_, context] { self->begin(context); });
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return finish(grpc::Status::CANCELLED);
    const std::lock_guard lock(mutex_);
    outgoing_.pop_front();
    if (!outgoing_.empty() && !finished_) return StartWrite(&outgoing_.front());
    read_more();
  }

  void OnCancel() override { finish(grpc::Status::CANCELLED); }

  void OnDone() override {
    subscription_.reset();
    alarm_.Cancel();
    const std::shared_ptr<WatchReactor> last = std::move(self_);
  }

 private:
  void begin(grpc::CallbackServerContext* context) {
    const auto caller = gate_.authenticator.authenticate(*context, Access::kUser);
    absl::Status status = caller.status();
    if (status.ok()) status = watches_.check(query_);
    int64_t position = watches_.feed().position();
    if (status.ok() && !cursor_.empty()) {
      const auto given = watches_.position_of(cursor_);
      status = given.status();
      if (given.ok()) position = *given;
    }
    bool cancelled = false;
    {
      const std::lock_guard lock(mutex_);
      begun_ = true;
      position_ = position;
      cancelled = cancelled_;
    }
    if (!status.ok() || cancelled) return finish(status.ok() ? grpc::Status::CANCELLED : to_grpc(status));
    // On the writer's thread: only notes that there is something to read. `this` outlives its subscription.
    auto subscription = watches_.feed().subscribe([this](int64_t) {
      const std::lock_guard lock(mutex_);
      read_more();
    });
    {
      const std::lock_guard lock(mutex_);
      // The stream may have ended meanwhile; then OnDone has run or will run, and this subscription ends here or there.
      if (!finished_) {
        subscription_ = std::move(subscription);
        push_cursor();
        set_alarm();
        read_more();
      }
    }
  }

  // With mutex_ held from here on.

  void read_more() {
    if (!begun_ || finished_ || reading_ || !outgoing_.empty() || position_ >= watches_.feed().position()) return;
    reading_ = true;
    gate_.workers.post([self = self_] { self->read(); });
  }

  void push_cursor() {
    WatchResponse message;
    message.set_cursor(watches_.cursor_of(position_));
    push(std::move(message));
  }

  void push(WatchResponse message) {
    outgoing_.push_back(std::move(message));
    if (outgoing_.size() == 1) StartWrite(&outgoing_.front());
  }

  void set_alarm() {
    // Weak: the alarm keeps its callback, and would keep this alive with it.
    const std::weak_ptr<WatchReactor> weak = self_;
    alarm_.Set(std::chrono::system_clock::now() + std::chrono::milliseconds(keep_alive_ms_), [weak](bool ok) {
      const std::shared_ptr<WatchReactor> self = weak.lock();
      if (!ok || !self) return;
      const std::lock_guard lock(self->mutex_);
      if (self->finished_) return;
      if (self->outgoing_.empty()) self->push_cursor();
      self->set_alarm();
    });
  }

  // Without it.

  void read() {
    int64_t after = 0;
    {
      const std::lock_guard lock(mutex_);
      after = position_;
    }
    auto piece = watches_.read(query_, after);
    if (!piece.ok()) return finish(to_grpc(piece.status()));
    std::deque<WatchResponse> messages;
    for (const service::WatchItem& item : piece->items) {
      if (const auto* event = std::get_if<store::RunEvent>(&item.change); event != nullptr && event->type == "metric") {
        WatchResponse metric;
        // Not the event's own cursor: a client that stops between the two gets both again.
        metric.set_cursor(watches_.cursor_of(item.position - 1));
        if (fill_metric(query_.run_id, *event, metric.mutable_metric())) messages.push_back(std::move(metric));
      }
      WatchResponse message;
      message.set_cursor(watches_.cursor_of(item.position));
      std::visit(FillChange{&message}, item.change);
      messages.push_back(std::move(message));
    }
    const std::lock_guard lock(mutex_);
    reading_ = false;
    if (finished_) return;
    position_ = piece->position;
    for (WatchResponse& message : messages) push(std::move(message));
    read_more();
  }

  void finish(const grpc::Status& status) {
    {
      const std::lock_guard lock(mutex_);
      if (!begun_) cancelled_ = true;
      if (!begun_ || std::exchange(finished_, true)) return;
    }
    Finish(status);
  }

  Gate gate_;
  service::Watches& watches_;
  const service::WatchQuery query_;
  const std::string cursor_;
  const int keep_alive_ms_;
  std::shared_ptr<WatchReactor> self_;
  store::ChangeFeed::Subscription subscription_;
  grpc::Alarm alarm_;

  std::mutex mutex_;  // guards what follows
  bool begun_ = false;
  bool cancelled_ = false;
  bool finished_ = false;
  bool reading_ = false;
  int64_t position_ = 0;
  std::deque<WatchResponse> outgoing_;
};

}  // namespace

grpc::ServerWriteReactor<WatchResponse>* EventAdapter::Watch(grpc::CallbackServerContext* context,
                                                             const v1::WatchRequest* request) {
  service::WatchQuery query{request->run_id(), request->logs(), request->samples(), request->deployment_id()};
  return new WatchReactor(context, gate_, watches_, std::move(query), request->cursor(), keep_alive_ms_);
}

}  // namespace slipway::rpc
