// NodeService over gRPC.
#pragma once

#include "backend/rpc/gate.h"
#include "backend/service/nodes.h"
#include "slipway/v1/node.grpc.pb.h"

namespace slipway::rpc {

class NodeAdapter final : public v1::NodeService::CallbackService {
 public:
  NodeAdapter(Gate gate, service::Nodes& nodes) : gate_(gate), nodes_(nodes) {}

  grpc::ServerUnaryReactor* ListNodes(grpc::CallbackServerContext* context, const v1::ListNodesRequest* request,
                                      v1::ListNodesResponse* response) override;
  grpc::ServerUnaryReactor* GetNode(grpc::CallbackServerContext* context, const v1::GetNodeRequest* request,
                                    v1::Node* response) override;
  grpc::ServerUnaryReactor* ListNodeSamples(grpc::CallbackServerContext* context,
                                            const v1::ListNodeSamplesRequest* request,
                                            v1::ListNodeSamplesResponse* response) override;
  grpc::ServerUnaryReactor* CreateJoinToken(grpc::CallbackServerContext* context,
                                            const v1::CreateJoinTokenRequest* request,
                                            v1::CreateJoinTokenResponse* response) override;
  grpc::ServerUnaryReactor* RemoveNode(grpc::CallbackServerContext* context, const v1::RemoveNodeRequest* request,
                                       v1::RemoveNodeResponse* response) override;

 private:
  Gate gate_;
  service::Nodes& nodes_;
};

}  // namespace slipway::rpc
