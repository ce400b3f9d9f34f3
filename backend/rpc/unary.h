// The shape of every unary handler:
//   grpc::ServerUnaryReactor* GetRun(grpc::CallbackServerContext* context, const v1::GetRunRequest* request,
//                                    v1::Run* response) override {
//     return unary(context, gate_, [=, this]() -> absl::Status { ... fills in *response ... });
//   }
// Signed-in users alone may call it; other rules are given as an Access before the body. A body that wants to know the
// caller takes a `const service::Caller&`. A server-streaming handler calls authenticate() itself before its first
// read.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <type_traits>
#include <utility>

#include "backend/rpc/gate.h"
#include "backend/rpc/status.h"

namespace slipway::rpc {

// On a worker: checks the caller, runs `body`, and finishes the call with its status. `context`, request and response
// live until then.
template <typename Body>
grpc::ServerUnaryReactor* unary(grpc::CallbackServerContext* context, const Gate& gate, Access access, Body body) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  gate.workers.post([reactor, context, gate, access, body = std::move(body)] {
    const absl::StatusOr<service::Caller> caller = gate.authenticator.authenticate(*context, access);
    if (!caller.ok()) {
      reactor->Finish(to_grpc(caller.status()));
      return;
    }
    if constexpr (std::is_invocable_v<const Body&, const service::Caller&>) {
      reactor->Finish(to_grpc(body(*caller)));
    } else {
      reactor->Finish(to_grpc(body()));
    }
  });
  return reactor;
}

template <typename Body>
grpc::ServerUnaryReactor* unary(grpc::CallbackServerContext* context, const Gate& gate, Body body) {
  return unary(context, gate, Access::kUser, std::move(body));
}

}  // namespace slipway::rpc
