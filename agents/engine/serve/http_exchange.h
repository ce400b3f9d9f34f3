// The exchange that handlers see of a connection's request. Private to the HTTP server.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <string>

#include "agents/engine/serve/http.h"
#include "agents/engine/serve/http_server.h"

namespace slipway::serve {

class Connection;
class ConnectionOwner;

// The client's own id when it can stand in a header and a log line, else a new one.
std::string request_id(const std::string& given);

// Its public methods may be called on any thread and hand over to the I/O thread.
class ConnectionExchange : public Exchange, public std::enable_shared_from_this<ConnectionExchange> {
 public:
  ConnectionExchange(HttpRequest request, std::weak_ptr<Connection> connection, std::shared_ptr<ConnectionOwner> owner,
                     bool keep_alive, bool chunked);

  const HttpRequest& request() const override { return request_; }
  void respond(HttpResponse response) override;
  void begin_stream(const std::string& content_type) override;
  void write(std::string data) override;
  void end_stream() override { post(chunked_ ? "0\r\n\r\n" : "", true, 0); }
  void on_abandoned(std::function<void(Abandoned)> callback) override;
  void defer(std::function<void()> work) override;
  void note(AccessNotes notes) override;

  // On the I/O thread: the time for the request has passed.
  void time_out();
  // On the I/O thread: the answer is out, or the client has gone.
  AccessRecord finish(bool client_left);

 private:
  std::string common_headers() const;
  void post(std::string data, bool last, int status);

  const HttpRequest request_;
  const std::shared_ptr<ConnectionOwner> owner_;
  const std::weak_ptr<Connection> connection_;
  const bool keep_alive_, chunked_;
  const std::string trace_parent_, trace_state_;  // as they came, where they can be passed on
  const std::chrono::steady_clock::time_point begin_;
  int status_ = 0;     // the I/O thread's
  int64_t bytes_ = 0;  // the I/O thread's

  std::mutex mutex_;  // for what follows, which is written on the I/O thread alone but for callback and notes
  std::function<void(Abandoned)> callback_;
  AccessNotes notes_;
  bool complete_ = false, left_ = false, timed_out_ = false;
};

}  // namespace slipway::serve
