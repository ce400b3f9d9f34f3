// One client connection of the HTTP server. Private to the HTTP server's files.
#pragma once

#include <array>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "agents/engine/serve/http.h"
#include "agents/engine/serve/http_server.h"
#include "backend/net/transport.h"

namespace slipway::serve {

class Connection;
class ConnectionExchange;

// What a connection and its exchanges ask of their server. Everything is called on the I/O thread but for the two that
// hand work over, which any thread may call and which drop it once the server has ended.
class ConnectionOwner {
 public:
  virtual ~ConnectionOwner() = default;
  // Keeps the server's threads' queues alive for exchanges that outlive it.
  virtual std::shared_ptr<ConnectionOwner> self() = 0;
  virtual const HttpLimits& limits() const = 0;
  virtual bool draining() const = 0;
  virtual HttpResponse refuse(int status, const std::string& message) const = 0;
  virtual void handle(std::shared_ptr<Exchange> exchange) = 0;
  virtual void on_io_thread(std::function<void()> work) = 0;
  virtual void on_worker(std::function<void()> work) = 0;
  virtual void began() = 0;
  virtual void ended(const AccessRecord& record) = 0;
  virtual void closed(const std::shared_ptr<Connection>& connection) = 0;
};

// Reads one request after the other and writes the answers. Something is always being read, but for what a client sends
// too far ahead: so it is known at once when the client leaves. All members belong to the I/O thread.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  // `client`: address:port, for the log.
  Connection(std::unique_ptr<net::Transport> transport, std::string client,
             const boost::asio::any_io_executor& executor, ConnectionOwner& owner);
  ~Connection();

  // `room`: false when there are too many connections; says so and closes.
  void start(bool room);
  void close();
  void close_when_idle();

  // For ConnectionExchange; on the I/O thread.
  void send(std::string data, bool last);

 private:
  struct Parser;  // Beast's request parser
  // Where the connection is; each phase has a limit in time.
  enum class Phase { kHandshake, kIdle, kHead, kBody, kAnswer, kLinger };

  void enter(Phase phase, std::chrono::milliseconds limit);
  void phase_is_late();
  void read();
  void received(size_t count);
  void await_request();
  void parse();
  void take_request();
  void exchange_begins(HttpRequest request, bool chunked);
  void refuse(int status, const std::string& message);
  void flush();
  void answered();

  const std::unique_ptr<net::Transport> transport_;
  const std::string client_;
  ConnectionOwner& owner_;
  Phase phase_ = Phase::kHandshake;
  boost::asio::steady_timer phase_timer_, write_timer_;
  int64_t phase_number_ = 0, write_number_ = 0;  // which setting of a timer counts
  std::array<char, 16 << 10> buffer_;            // of the read under way
  std::string received_;                         // not parsed yet
  size_t lingered_bytes_ = 0;
  std::unique_ptr<Parser> parser_;
  std::shared_ptr<ConnectionExchange> exchange_;  // the request that is being answered
  std::string to_send_;                           // waits for the write under way
  std::string sending_;
  size_t sent_ = 0;  // of sending_
  bool last_queued_ = false;
  bool reading_ = false, writing_ = false;
  bool keep_alive_ = false;
  bool closed_ = false;
};

}  // namespace slipway::serve
