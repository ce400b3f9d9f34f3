// The connection of a command to the backend: channel, token, deadline; an error of a call becomes a Failure.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <chrono>
#include <memory>
#include <string>

#include "app/cli/config.h"
#include "app/cli/failure.h"

namespace slipway::cli {

class Client {
 public:
  // Throws Failure for an address on another machine without TLS: tokens do not travel in the clear.
  explicit Client(Config config);

  const Config& config() const { return config_; }
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  // Adds the token. Without one the call goes out all the same: some are open to all.
  void authorize(grpc::ClientContext& context) const;

  // One unary call: client.call(*stub, &v1::RunService::Stub::GetRun, request). Throws Failure.
  template <typename Stub, typename Request, typename Response>
  Response call(Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                const Request& request, std::chrono::seconds deadline = std::chrono::seconds(60)) const {
    grpc::ClientContext context;
    authorize(context);
    context.set_deadline(std::chrono::system_clock::now() + deadline);
    Response response;
    check((stub.*method)(&context, request, &response));
    return response;
  }

  // Throws the status as Failure unless it is OK.
  void check(const grpc::Status& status) const {
    if (!status.ok()) throw Failure::from(status, config_.backend);
  }

 private:
  Config config_;
  std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace slipway::cli
