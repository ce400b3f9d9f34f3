// One request and its response, as handlers see them. Everything here is on the I/O thread; a handler that leaves it
// (for a worker or an RPC) comes back by `resume`. Implemented by connection.cpp.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backend/web/http.h"

namespace slipway::web {

class Exchange {
 public:
  virtual ~Exchange() = default;

  virtual const RequestHead& head() const = 0;

  // The whole body. A longer one is answered with 413, and `done` is not called; nor is it when the client leaves.
  virtual void read_body(size_t max_bytes, std::function<void(std::string)> done) = 0;
  // The next piece of the body, empty at its end. One at a time.
  virtual void read_piece(std::function<void(std::string)> done) = 0;

  // The whole response. Once, and not after begin().
  virtual void respond(Response response) = 0;

  // A response in pieces: with content_length < 0 they are sent chunked.
  virtual void begin(int status, std::vector<Header> headers, int64_t content_length) = 0;
  // `done` is called when the piece is on its way, and not when the client has left.
  virtual void write(std::string piece, std::function<void()> done) = 0;
  virtual void end() = 0;
  // Breaks the connection, so that the client sees that the response is not whole.
  virtual void abort() = 0;

  // Called once if the client leaves before the response is complete. Replaces an earlier one.
  virtual void on_closed(std::function<void()> callback) = 0;
  virtual bool closed() const = 0;

  // Runs `action` on the I/O thread. Any thread.
  virtual void resume(std::function<void()> action) = 0;
};

using ExchangePointer = std::shared_ptr<Exchange>;

// A part of the site.
class Handler {
 public:
  virtual ~Handler() = default;
  virtual void handle(const ExchangePointer& exchange) = 0;
};

}  // namespace slipway::web
