#include "backend/rpc/node_adapter.h"

#include "backend/rpc/times.h"
#include "backend/rpc/unary.h"
#include "backend/rpc/views.h"

namespace slipway::rpc {

grpc::ServerUnaryReactor* NodeAdapter::ListNodes(grpc::CallbackServerContext* context,
                                                 const v1::ListNodesRequest* request, v1::ListNodesResponse* response) {
  return unary(context, gate_, [=, this]() -> absl::Status {
    const auto page = nodes_.list(page_request(request->page()));
    if (!page.ok()) return page.status();
    for (const service::NodeView& view : page->rows) fill(view, response->add_nodes());
    fill_page(page->next_page_token, page->total, response->mutable_page());
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* NodeAdapter::GetNode(grpc::CallbackServerContext* context, const v1::GetNodeRequest* request,
                                               v1::Node* response) {
  return unary(context, gate_, [=, this]() -> absl::Status {
    const auto view = nodes_.get(request->id());
    if (view.ok()) fill(*view, response);
    return view.status();
  });
}

grpc::ServerUnaryReactor* NodeAdapter::ListNodeSamples(grpc::CallbackServerContext* context,
                                                       const v1::ListNodeSamplesRequest* request,
                                                       v1::ListNodeSamplesResponse* response) {
  return unary(context, gate_, [=, this]() -> absl::Status {
    const int64_t since_ms = request->since().seconds() * 1000 + request->since().nanos() / 1'000'000;
    const auto samples = nodes_.samples(request->node_id(), since_ms, request->max_points());
    if (!samples.ok()) return samples.status();
    for (const service::NodeSample& sample : *samples) fill(sample, response->add_samples());
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* NodeAdapter::CreateJoinToken(grpc::CallbackServerContext* context,
                                                       const v1::CreateJoinTokenRequest*,
                                                       v1::CreateJoinTokenResponse* response) {
  return unary(context, gate_, Access::kAdministrator, [=, this]() -> absl::Status {
    const auto token = nodes_.create_join_token();
    if (!token.ok()) return token.status();
    response->set_join_token(token->token);
    set_time(response->mutable_expires_at(), token->expires_at_ms);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* NodeAdapter::RemoveNode(grpc::CallbackServerContext* context,
                                                  const v1::RemoveNodeRequest* request, v1::RemoveNodeResponse*) {
  return unary(context, gate_, Access::kAdministrator, [=, this] { return nodes_.remove(request->id()); });
}

}  // namespace slipway::rpc
