// RunService over gRPC.
#pragma once

#include "backend/rpc/gate.h"
#include "backend/service/runs.h"
#include "slipway/v1/run.grpc.pb.h"

namespace slipway::rpc {

class RunAdapter final : public v1::RunService::CallbackService {
 public:
  RunAdapter(Gate gate, service::Runs& runs) : gate_(gate), runs_(runs) {}

  grpc::ServerUnaryReactor* StartRun(grpc::CallbackServerContext* context, const v1::StartRunRequest* request,
                                     v1::Run* response) override;
  grpc::ServerUnaryReactor* GetRun(grpc::CallbackServerContext* context, const v1::GetRunRequest* request,
                                   v1::Run* response) override;
  grpc::ServerUnaryReactor* ListRuns(grpc::CallbackServerContext* context, const v1::ListRunsRequest* request,
                                     v1::ListRunsResponse* response) override;
  grpc::ServerUnaryReactor* CancelRun(grpc::CallbackServerContext* context, const v1::CancelRunRequest* request,
                                      v1::Run* response) override;
  grpc::ServerUnaryReactor* StartSweep(grpc::CallbackServerContext* context, const v1::StartSweepRequest* request,
                                       v1::StartSweepResponse* response) override;
  grpc::ServerUnaryReactor* EstimateRun(grpc::CallbackServerContext* context, const v1::EstimateRunRequest* request,
                                        v1::Run* response) override;
  grpc::ServerUnaryReactor* CompareMetrics(grpc::CallbackServerContext* context,
                                           const v1::CompareMetricsRequest* request,
                                           v1::CompareMetricsResponse* response) override;
  grpc::ServerUnaryReactor* RetryRun(grpc::CallbackServerContext* context, const v1::RetryRunRequest* request,
                                     v1::Run* response) override;
  grpc::ServerUnaryReactor* GetTaskSpec(grpc::CallbackServerContext* context, const v1::GetTaskSpecRequest* request,
                                        v1::GetTaskSpecResponse* response) override;
  grpc::ServerUnaryReactor* ListMetrics(grpc::CallbackServerContext* context, const v1::ListMetricsRequest* request,
                                        v1::ListMetricsResponse* response) override;
  grpc::ServerUnaryReactor* ListLogLines(grpc::CallbackServerContext* context, const v1::ListLogLinesRequest* request,
                                         v1::ListLogLinesResponse* response) override;
  grpc::ServerUnaryReactor* ListRunEvents(grpc::CallbackServerContext* context, const v1::ListRunEventsRequest* request,
                                          v1::ListRunEventsResponse* response) override;

 private:
  Gate gate_;
  service::Runs& runs_;
};

}  // namespace slipway::rpc
