// WorkflowService over gRPC.
#pragma once

#include "backend/rpc/gate.h"
#include "backend/service/workflow_plans.h"
#include "slipway/v1/workflow.grpc.pb.h"

namespace slipway::rpc {

class WorkflowAdapter final : public v1::WorkflowService::CallbackService {
 public:
  WorkflowAdapter(Gate gate, service::WorkflowPlans& plans) : gate_(gate), plans_(plans) {}

  grpc::ServerUnaryReactor* ListWorkflows(grpc::CallbackServerContext* context, const v1::ListWorkflowsRequest* request,
                                          v1::ListWorkflowsResponse* response) override;
  grpc::ServerUnaryReactor* GetWorkflow(grpc::CallbackServerContext* context, const v1::GetWorkflowRequest* request,
                                        v1::Workflow* response) override;
  grpc::ServerUnaryReactor* PlanRun(grpc::CallbackServerContext* context, const v1::PlanRunRequest* request,
                                    v1::PlanRunResponse* response) override;

 private:
  Gate gate_;
  service::WorkflowPlans& plans_;
};

}  // namespace slipway::rpc
