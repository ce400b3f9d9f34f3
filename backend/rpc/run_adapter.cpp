#include "backend/rpc/run_adapter.h"

#include "backend/rpc/times.h"
#include "backend/rpc/unary.h"
#include "backend/rpc/views.h"

namespace slipway::rpc {
namespace {

absl::Status answer(const absl::StatusOr<service::RunView>& view, v1::Run* response) {
  if (view.ok()) fill(*view, response);
  return view.status();
}

void fill_series(const service::MetricSeries& series, v1::MetricSeries* message) {
  message->set_task(series.task);
  message->set_name(series.name);
  for (const store::MetricPoint& point : series.points) {
    v1::MetricPoint* added_point = message->add_points();
    added_point->set_step(point.step);
    added_point->set_value(point.value);
    set_time(added_point->mutable_time(), point.time_ms);
  }
}

}  // namespace

grpc::ServerUnaryReactor* RunAdapter::StartRun(grpc::CallbackServerContext* context, const v1::StartRunRequest* request,
                                               v1::Run* response) {
  return unary(context, gate_, Access::kUser, [=, this](const service::Caller& caller) {
    service::StartRunRequest start{request->workflow(),
                                   request->name(),
                                   {request->parameters().begin(), request->parameters().end()},
                                   request->idempotency_key(),
                                   caller.name};
    return answer(runs_.start(start), response);
  });
}

grpc::ServerUnaryReactor* RunAdapter::GetRun(grpc::CallbackServerContext* context, const v1::GetRunRequest* request,
                                             v1::Run* response) {
  return unary(context, gate_, [=, this] { return answer(runs_.get(request->id()), response); });
}

grpc::ServerUnaryReactor* RunAdapter::ListRuns(grpc::CallbackServerContext* context, const v1::ListRunsRequest* request,
                                               v1::ListRunsResponse* response) {
  return unary(context, gate_, [=, this]() -> absl::Status {
    const auto page = runs_.list(page_request(request->page()));
    if (!page.ok()) return page.status();
    for (const service::RunView& view : page->rows) fill(view, response->add_runs());
    fill_page(page->next_page_token, page->total, response->mutable_page());
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* RunAdapter::CancelRun(grpc::CallbackServerContext* context,
                                                const v1::CancelRunRequest* request, v1::Run* response) {
  return unary(context, gate_, [=, this] {
    return answer(request->keep() ? runs_.stop_and_keep(request->id()) : runs_.cancel(request->id()), response);
  });
}

grpc::ServerUnaryReactor* RunAdapter::StartSweep(grpc::CallbackServerContext* context,
                                                 const v1::StartSweepRequest* request,
                                                 v1::StartSweepResponse* response) {
  return unary(context, gate_, Access::kUser, [=, this](const service::Caller& caller) -> absl::Status {
    std::vector<workflows::SweepAxis> axes;
    for (const v1::SweepAxis& axis : request->axes()) {
      axes.push_back({axis.parameter(), {axis.values().begin(), axis.values().end()}, {}, {}, axis.logarithmic()});
      if (axis.has_minimum()) axes.back().minimum = axis.minimum();
      if (axis.has_maximum()) axes.back().maximum = axis.maximum();
    }
    const service::StartRunRequest start{request->workflow(),
                                         request->name(),
                                         {request->parameters().begin(), request->parameters().end()},
                                         request->idempotency_key(),
                                         caller.name};
    const auto sweep = runs_.sweep(start, axes, request->random_runs(), static_cast<uint64_t>(request->seed()));
    if (!sweep.ok()) return sweep.status();
    response->set_sweep_id(sweep->id);
    for (const std::string& id : sweep->run_ids) response->add_run_ids(id);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* RunAdapter::EstimateRun(grpc::CallbackServerContext* context,
                                                  const v1::EstimateRunRequest* request, v1::Run* response) {
  return unary(context, gate_, Access::kUser, [=, this](const service::Caller& caller) {
    const service::StartRunRequest start{
        request->workflow(), "", {request->parameters().begin(), request->parameters().end()}, "", caller.name};
    return answer(runs_.estimate(start), response);
  });
}

grpc::ServerUnaryReactor* RunAdapter::CompareMetrics(grpc::CallbackServerContext* context,
                                                     const v1::CompareMetricsRequest* request,
                                                     v1::CompareMetricsResponse* response) {
  return unary(context, gate_, [=, this]() -> absl::Status {
    const auto all =
        runs_.compare({request->run_ids().begin(), request->run_ids().end()}, request->name(), request->max_points());
    if (!all.ok()) return all.status();
    for (const service::RunSeries& one : *all) {
      v1::RunSeries* added = response->add_series();
      added->set_run_id(one.run_id);
      fill_series(one.series, added->mutable_series());
    }
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* RunAdapter::RetryRun(grpc::CallbackServerContext* context, const v1::RetryRunRequest* request,
                                               v1::Run* response) {
  return unary(context, gate_, [=, this] { return answer(runs_.retry(request->id()), response); });
}

grpc::ServerUnaryReactor* RunAdapter::GetTaskSpec(grpc::CallbackServerContext* context,
                                                  const v1::GetTaskSpecRequest* request,
                                                  v1::GetTaskSpecResponse* response) {
  return unary(context, gate_, [=, this]() -> absl::Status {
    auto spec = runs_.task_spec(request->run_id(), request->task());
    if (!spec.ok()) return spec.status();
    response->set_json(*std::move(spec));
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* RunAdapter::ListMetrics(grpc::CallbackServerContext* context,
                                                  const v1::ListMetricsRequest* request,
                                                  v1::ListMetricsResponse* response) {
  return unary(context, gate_, [=, this]() -> absl::Status {
    const auto all = runs_.metrics(request->run_id(), request->task(),
                                   {request->names().begin(), request->names().end()}, request->max_points());
    if (!all.ok()) return all.status();
    for (const service::MetricSeries& series : *all) {
      fill_series(series, response->add_series());
    }
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* RunAdapter::ListLogLines(grpc::CallbackServerContext* context,
                                                   const v1::ListLogLinesRequest* request,
                                                   v1::ListLogLinesResponse* response) {
  return unary(context, gate_, [=, this]() -> absl::Status {
    const auto result = runs_.log({request->run_id(), request->task(), request->after_cursor(),
                                   request->before_cursor(), request->tail(), request->limit(), request->search()});
    if (!result.ok()) return result.status();
    for (const store::LogLine& line : result->lines) fill(line, response->add_lines());
    response->set_total(result->total);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* RunAdapter::ListRunEvents(grpc::CallbackServerContext* context,
                                                    const v1::ListRunEventsRequest* request,
                                                    v1::ListRunEventsResponse* response) {
  return unary(context, gate_, [=, this]() -> absl::Status {
    const auto events = runs_.events(request->run_id(), request->after_cursor(), request->limit(), request->type());
    if (!events.ok()) return events.status();
    for (const store::RunEvent& event : *events) fill(event, response->add_events());
    return absl::OkStatus();
  });
}

}  // namespace slipway::rpc
