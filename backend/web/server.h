// The HTTP server: one thread that accepts and serves, and a few workers for files and the store. Made by main.cpp.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "backend/web/exchange.h"

namespace boost::asio {
class io_context;
}

namespace slipway::web {

struct WebServerOptions {
  std::string listen;  // HOST:PORT, port 0 for any free one
  // PEM texts; both empty: no TLS.
  std::string tls_certificate;
  std::string tls_key;
};

class WebServer {
 public:
  // Listens, but serves nothing before start(). UNAVAILABLE when it cannot.
  static absl::StatusOr<std::unique_ptr<WebServer>> listen(const WebServerOptions& options);
  virtual ~WebServer() = default;

  virtual int port() const = 0;
  // Of the I/O thread, for handlers that open connections of their own.
  virtual boost::asio::io_context& io() = 0;
  // Once. `site` must live until this is destroyed; `request_done` is called on the I/O thread.
  virtual void start(Handler& site, std::function<void(const RequestHead&, int, int64_t)> request_done) = 0;
  // Accepts no more and breaks what is open. What calls under way resume still runs, until this is destroyed.
  virtual void stop() = 0;
};

// HOST:PORT in two; IPv6 as [::1]:80. False when it is not such a text.
bool split_address(const std::string& address, std::string& host, uint16_t& port);
// Whether only this machine can reach it.
bool is_loopback_host(const std::string& host);

}  // namespace slipway::web
