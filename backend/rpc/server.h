// The gRPC server: assembles the adapters, listens, and gives web/ its in-process channel. Made by main.cpp.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/server.h>
#include <grpcpp/support/server_callback.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace slipway::rpc {

struct ServerOptions {
  std::string listen;  // HOST:PORT, port 0 for any free one
  // PEM texts; both empty: no TLS.
  std::string tls_certificate;
  std::string tls_key;
};

class Server {
 public:
  // `services` must outlive the server.
  static absl::StatusOr<std::unique_ptr<Server>> start(const ServerOptions& options,
                                                       const std::vector<grpc::Service*>& services);
  ~Server();

  int port() const { return port_; }
  std::shared_ptr<grpc::Channel> in_process_channel() const { return channel_; }
  // Refuses new calls, gives those that run `grace_ms`, then cancels them. Once.
  void shut_down(int grace_ms);

 private:
  Server() = default;

  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  int port_ = 0;
};

}  // namespace slipway::rpc
