// Bytes to and from one client, plain or under TLS, so that connections are compiled once. All on the I/O thread.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/system/error_code.hpp>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

namespace slipway::net {

class Transport {
 public:
  using Done = std::function<void(const boost::system::error_code&, size_t)>;

  virtual ~Transport() = default;
  // Before anything else.
  virtual void handshake(std::function<void(const boost::system::error_code&)> done) = 0;
  // One read at a time; `data` must live until it is done.
  virtual void read_some(char* data, size_t size, Done done) = 0;
  // Writes all; one write at a time.
  virtual void write(const char* data, size_t size, Done done) = 0;
  // No more will be written.
  virtual void finish_sending() = 0;
  // Ends what is under way with an error.
  virtual void close() = 0;
  virtual bool tls() const = 0;
  virtual bool from_loopback() const = 0;
};

// Turns accepted sockets into transports.
class TransportMaker {
 public:
  virtual ~TransportMaker() = default;
  virtual std::unique_ptr<Transport> make(boost::asio::ip::tcp::socket socket) = 0;
};

std::unique_ptr<TransportMaker> plain_transports();
// PEM texts. Throws std::exception when they are wrong.
std::unique_ptr<TransportMaker> tls_transports(const std::string& certificate, const std::string& key);

}  // namespace slipway::net
