// A connection of slipway-serve that gets any bytes, cut anywhere: the first byte says how long the pieces are. Every
// request that it makes of them is answered by it, and at the end the connection is closed.
#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>

#include "agents/engine/serve/http_connection.h"
#include "agents/engine/serve/routes.h"
#include "tests/fuzz/transport.h"

namespace slipway::serve {
namespace {

class FuzzOwner final : public ConnectionOwner, public std::enable_shared_from_this<FuzzOwner> {
 public:
  explicit FuzzOwner(boost::asio::io_context& io) : io_(io) {
    limits_.max_body_bytes = 1000;
    limits_.max_header_bytes = 1000;
  }
  std::shared_ptr<ConnectionOwner> self() override { return shared_from_this(); }
  const HttpLimits& limits() const override { return limits_; }
  bool draining() const override { return false; }
  HttpResponse refuse(int status, const std::string& message) const override { return {status, "text/plain", message}; }
  void handle(std::shared_ptr<Exchange> exchange) override {
    const HttpRequest& request = exchange->request();
    if (request.body.size() > 1000) std::abort();
    decode_percent(request.path);
    if (request.method == "POST") {
      exchange->begin_stream("text/event-stream");
      exchange->write(request.body);
      exchange->end_stream();
    } else {
      exchange->respond({200, "text/plain", request.path});
    }
  }
  void on_io_thread(std::function<void()> work) override { boost::asio::post(io_, std::move(work)); }
  void on_worker(std::function<void()> work) override { boost::asio::post(io_, std::move(work)); }
  void began() override { ++open; }
  void ended(const AccessRecord&) override { --open; }
  void closed(const std::shared_ptr<Connection>&) override { connection.reset(); }

  int open = 0;
  std::shared_ptr<Connection> connection;  // until it is closed

 private:
  boost::asio::io_context& io_;
  HttpLimits limits_;
};

}  // namespace
}  // namespace slipway::serve

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace slipway::serve;
  if (size == 0) return 0;
  boost::asio::io_context io(1);
  const auto owner = std::make_shared<FuzzOwner>(io);
  const std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  owner->connection = std::make_shared<Connection>(
      std::make_unique<slipway::net::FuzzTransport>(io, bytes, data[0] + 1U), "fuzz", io.get_executor(), *owner);
  owner->connection->start(true);
  // Timers aside, everything that can happen happens at once.
  while (io.poll() > 0) {
  }
  if (owner->connection || owner->open != 0) std::abort();
  return 0;
}
