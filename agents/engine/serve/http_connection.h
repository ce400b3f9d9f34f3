// One client connection of the HTTP server. Private to http_server.cpp and http_connection.cpp.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <memory>
#include <string>

#include "agents/engine/serve/http.h"
#include "agents/engine/serve/http_server.h"

namespace slipway::serve {

class Connection;

// What a connection asks of its server. Everything is called on the I/O thread.
class ConnectionOwner {
 public:
  virtual ~ConnectionOwner() = default;
  // Keeps the server's executor alive for exchanges that outlive it.
  virtual std::shared_ptr<void> self() = 0;
  virtual const HttpLimits& limits() const = 0;
  virtual bool draining() const = 0;
  virtual HttpResponse refuse(int status, const std::string& message) const = 0;
  virtual void handle(std::shared_ptr<Exchange> exchange) = 0;
  virtual void began() = 0;
  virtual void ended(const AccessRecord& record) = 0;
  virtual void closed(const std::shared_ptr<Connection>& connection) = 0;
};

class ConnectionExchange;

// Reads one request after the other and writes the answers. All members belong to the I/O thread.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(boost::asio::ip::tcp::socket socket, ConnectionOwner& owner);
  ~Connection();

  // `room`: false when there are too many connections; says so and closes.
  void start(bool room);
  void close();
  void close_when_idle();

  // For ConnectionExchange; on the I/O thread.
  void send(std::string data, bool last);

 private:
  struct Parser;  // Beast's request parser

  void read_request();
  void read_head();
  void read_body();
  void take_request();
  void refuse(int status, const std::string& message);
  void watch_for_leaving();
  void flush();
  void answered();
  void linger(size_t bytes_left);
  void limit_reading(std::chrono::milliseconds time);
  void end_limit();

  boost::beast::tcp_stream stream_;
  ConnectionOwner& owner_;
  boost::beast::flat_buffer buffer_;
  std::unique_ptr<Parser> parser_;
  std::shared_ptr<ConnectionExchange> exchange_;  // the request that is being answered
  std::string client_;
  boost::asio::steady_timer read_timer_;  // tcp_stream's own time-out would close the socket before we can say why
  int64_t read_limit_ = 0;                // which setting of the timer counts
  bool read_timed_out_ = false;
  std::string to_send_;  // waits for the write under way
  std::string sending_;
  bool last_queued_ = false;
  bool writing_ = false;
  bool watching_ = false;
  bool keep_alive_ = false;
  bool mid_request_ = false;  // some of a request is here, but not all
  bool closed_ = false;
};

}  // namespace slipway::serve
