// AgentService over gRPC: the doors through which agents join and keep their sessions.
#pragma once

#include "backend/rpc/gate.h"
#include "backend/service/nodes.h"
#include "slipway/v1/agent.grpc.pb.h"

namespace slipway::rpc {

class AgentAdapter final : public v1::AgentService::CallbackService {
 public:
  AgentAdapter(Gate gate, service::Nodes& nodes) : gate_(gate), nodes_(nodes) {}

  grpc::ServerUnaryReactor* Join(grpc::CallbackServerContext* context, const v1::JoinRequest* request,
                                 v1::JoinResponse* response) override;
  grpc::ServerBidiReactor<v1::AgentMessage, v1::BackendMessage>* Session(grpc::CallbackServerContext* context) override;

 private:
  Gate gate_;
  service::Nodes& nodes_;
};

}  // namespace slipway::rpc
