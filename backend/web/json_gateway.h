// The one JSON door to every method: /api/slipway.v1.Service/Method by the Connect protocol. Turns JSON into protobuf
// by descriptor and calls the server over its in-process channel; knows no method by name. handle() is on the I/O
// thread; no thread waits for a call.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/generic/generic_stub.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string_view>

#include "backend/web/exchange.h"

namespace google::protobuf {
class MethodDescriptor;
}

namespace slipway::web {

class JsonGateway final : public Handler {
 public:
  static constexpr std::string_view kPrefix = "/api/";

  explicit JsonGateway(const std::shared_ptr<grpc::Channel>& channel) : stub_(channel) {}
  // Waits for the calls under way: they have been cancelled by then, because the connections and the server are closed.
  ~JsonGateway() override;

  void handle(const ExchangePointer& exchange) override;

  // A call under way keeps one of these.
  class Ticket {
   public:
    explicit Ticket(JsonGateway& gateway);
    ~Ticket();
    Ticket(const Ticket&) = delete;
    Ticket& operator=(const Ticket&) = delete;

   private:
    JsonGateway& gateway_;
  };

 private:
  void call(const ExchangePointer& exchange, const google::protobuf::MethodDescriptor& method, std::string body);

  grpc::GenericStub stub_;
  std::mutex mutex_;
  std::condition_variable idle_;
  int calls_ = 0;
};

}  // namespace slipway::web
