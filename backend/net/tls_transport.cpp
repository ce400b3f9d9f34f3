// The transport under TLS 1.2 and 1.3. A file of its own, because it is slow to compile.
#include <boost/asio/buffer.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/write.hpp>

#include "backend/net/transport.h"

namespace slipway::net {
namespace {

namespace ssl = boost::asio::ssl;
using boost::asio::ip::tcp;
using boost::system::error_code;

class TlsTransport final : public Transport {
 public:
  TlsTransport(tcp::socket socket, ssl::context& context) : stream_(std::move(socket), context) {
    error_code ignored;
    stream_.next_layer().set_option(tcp::no_delay(true), ignored);
    stream_.next_layer().set_option(boost::asio::socket_base::keep_alive(true), ignored);
    from_loopback_ = stream_.next_layer().remote_endpoint(ignored).address().is_loopback();
  }

  void handshake(std::function<void(const error_code&)> done) override {
    stream_.async_handshake(ssl::stream_base::server, std::move(done));
  }
  void read_some(char* data, size_t size, Done done) override {
    stream_.async_read_some(boost::asio::buffer(data, size), std::move(done));
  }
  void write(const char* data, size_t size, Done done) override {
    boost::asio::async_write(stream_, boost::asio::buffer(data, size), std::move(done));
  }
  // HTTP's own framing says where a message ends, so the close_notify is not waited for.
  void finish_sending() override {
    error_code ignored;
    stream_.next_layer().shutdown(tcp::socket::shutdown_send, ignored);
  }
  void close() override {
    error_code ignored;
    stream_.next_layer().close(ignored);
  }
  bool tls() const override { return true; }
  bool from_loopback() const override { return from_loopback_; }

 private:
  ssl::stream<tcp::socket> stream_;
  bool from_loopback_ = false;
};

class TlsTransports final : public TransportMaker {
 public:
  TlsTransports(const std::string& certificate, const std::string& key) : context_(ssl::context::tls_server) {
    context_.set_options(ssl::context::default_workarounds | ssl::context::no_sslv2 | ssl::context::no_sslv3 |
                         ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1);
    context_.use_certificate_chain(boost::asio::buffer(certificate));
    context_.use_private_key(boost::asio::buffer(key), ssl::context::pem);
  }
  std::unique_ptr<Transport> make(tcp::socket socket) override {
    return std::make_unique<TlsTransport>(std::move(socket), context_);
  }

 private:
  ssl::context context_;
};

}  // namespace

std::unique_ptr<TransportMaker> tls_transports(const std::string& certificate, const std::string& key) {
  return std::make_unique<TlsTransports>(certificate, key);
}

}  // namespace slipway::net
