// The shape of every unary handler:
//   grpc::ServerUnaryReactor* GetRun(grpc::CallbackServerContext* context, const v1::GetRunRequest* request,
//                                    v1::Run* response) override {
//     return unary(context, workers_, [=, this]() -> absl::Status { ... fills in *response ... });
//   }
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <utility>

#include "backend/rpc/status.h"
#include "backend/rpc/worker_pool.h"

namespace slipway::rpc {

// Runs `body` on a worker and finishes the call with its status. `context`, request and response live until then.
template <typename Body>
grpc::ServerUnaryReactor* unary(grpc::CallbackServerContext* context, WorkerPool& workers, Body body) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  workers.post([reactor, body = std::move(body)] { reactor->Finish(to_grpc(body())); });
  return reactor;
}

}  // namespace slipway::rpc
