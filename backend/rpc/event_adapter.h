// EventService over gRPC: the one watch stream of a page.
#pragma once

#include "backend/rpc/gate.h"
#include "backend/service/watch.h"
#include "slipway/v1/event.grpc.pb.h"

namespace slipway::rpc {

class EventAdapter final : public v1::EventService::CallbackService {
 public:
  static constexpr int kKeepAliveMs = 15'000;

  EventAdapter(Gate gate, service::Watches& watches, int keep_alive_ms = kKeepAliveMs)
      : gate_(gate), watches_(watches), keep_alive_ms_(keep_alive_ms) {}

  grpc::ServerWriteReactor<v1::WatchResponse>* Watch(grpc::CallbackServerContext* context,
                                                     const v1::WatchRequest* request) override;

 private:
  Gate gate_;
  service::Watches& watches_;
  int keep_alive_ms_;
};

}  // namespace slipway::rpc
