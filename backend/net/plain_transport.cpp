// The transport without TLS.
#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>

#include "backend/net/transport.h"

namespace slipway::net {
namespace {

using boost::asio::ip::tcp;
using boost::system::error_code;

class PlainTransport final : public Transport {
 public:
  explicit PlainTransport(tcp::socket socket) : socket_(std::move(socket)) {
    error_code ignored;
    socket_.set_option(tcp::no_delay(true), ignored);
    socket_.set_option(boost::asio::socket_base::keep_alive(true), ignored);
    const tcp::endpoint peer = socket_.remote_endpoint(ignored);
    from_loopback_ = peer.address().is_loopback();
  }

  void handshake(std::function<void(const error_code&)> done) override { done({}); }
  void read_some(char* data, size_t size, Done done) override {
    socket_.async_read_some(boost::asio::buffer(data, size), std::move(done));
  }
  void write(const char* data, size_t size, Done done) override {
    boost::asio::async_write(socket_, boost::asio::buffer(data, size), std::move(done));
  }
  void finish_sending() override {
    error_code ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
  }
  void close() override {
    error_code ignored;
    socket_.close(ignored);
  }
  bool tls() const override { return false; }
  bool from_loopback() const override { return from_loopback_; }

 private:
  tcp::socket socket_;
  bool from_loopback_ = false;
};

class PlainTransports final : public TransportMaker {
 public:
  std::unique_ptr<Transport> make(tcp::socket socket) override {
    return std::make_unique<PlainTransport>(std::move(socket));
  }
};

}  // namespace

std::unique_ptr<TransportMaker> plain_transports() { return std::make_unique<PlainTransports>(); }

}  // namespace slipway::net
