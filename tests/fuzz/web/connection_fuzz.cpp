// A connection that gets any bytes, cut anywhere: the first byte says how long the pieces are.
#include <algorithm>
#include <boost/asio/post.hpp>
#include <memory>
#include <string>

#include "backend/web/connection.h"

namespace slipway::web {
namespace {

class FuzzTransport final : public net::Transport {
 public:
  FuzzTransport(boost::asio::io_context& io, std::string bytes, size_t piece)
      : io_(io), bytes_(std::move(bytes)), piece_(piece) {}

  void handshake(std::function<void(const boost::system::error_code&)> done) override { done({}); }
  void read_some(char* data, size_t size, Done done) override {
    const size_t count = std::min({size, piece_, bytes_.size() - at_});
    std::copy_n(bytes_.data() + at_, count, data);
    at_ += count;
    boost::asio::post(io_, [done = std::move(done), count] {
      done(count == 0 ? boost::system::error_code(boost::asio::error::eof) : boost::system::error_code(), count);
    });
  }
  void write(const char*, size_t size, Done done) override {
    boost::asio::post(io_, [done = std::move(done), size] { done({}, size); });
  }
  void finish_sending() override {}
  void close() override {}
  bool tls() const override { return false; }
  bool from_loopback() const override { return true; }

 private:
  boost::asio::io_context& io_;
  std::string bytes_;
  size_t piece_;
  size_t at_ = 0;
};

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
        std::make_unique<FuzzTransport>(io, std::string(reinterpret_cast<const char*>(data) + 1, size - 1),
                                        data[0] + 1U),
        site, [](const RequestHead&, int, int64_t) {}, [&] { gone = true; });
    connection->start();
  }
  // Timers aside, everything that can happen happens at once.
  while (io.poll() > 0) {
  }
  (void)gone;
  return 0;
}
