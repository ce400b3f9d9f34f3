// A connection that gets any bytes, cut anywhere: the first byte says how long the pieces are.
#include <algorithm>
#include <boost/asio/post.hpp>
#include <memory>
#include <string>

#include "backend/web/connection.h"
#include "tests/fuzz/transport.h"

namespace slipway::web {
namespace {

// Reads bodies for some methods and streams for others, so that all ways through a connection are taken.
class FuzzSite final : public Handler {
 public:
  void handle(const ExchangePointer& exchange) override {
    const std::string& method = exchange->head().method;
    if (method == "POST") {
      exchange->read_body(100, [exchange](std::string body) { exchange->respond({200, {}, std::move(body)}); });
    } else if (method == "PUT") {
      exchange->begin(200, {{"X", exchange->head().path}}, -1);
      pump(exchange);
    } else {
      exchange->respond({exchange->head().has_header("if-none-match") ? 304 : 200, {}, exchange->head().query});
    }
  }

 private:
  static void pump(const ExchangePointer& exchange) {
    exchange->read_piece([exchange](std::string piece) {
      if (piece.empty()) return exchange->end();
      exchange->write(std::move(piece), [exchange] { pump(exchange); });
    });
  }
};

}  // namespace
}  // namespace slipway::web

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace slipway::web;
  if (size == 0) return 0;
  boost::asio::io_context io(1);
  FuzzSite site;
  bool gone = false;
  {
    const auto connection = make_connection(
        io,
        std::make_unique<slipway::net::FuzzTransport>(
            io, std::string(reinterpret_cast<const char*>(data) + 1, size - 1), data[0] + 1U),
        site, [](const RequestHead&, int, int64_t) {}, [&] { gone = true; });
    connection->start();
  }
  // Timers aside, everything that can happen happens at once.
  while (io.poll() > 0) {
  }
  (void)gone;
  return 0;
}
