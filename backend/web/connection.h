// One client's connection: reads requests one after the other, hands each to the site, writes responses. Made by
// server.cpp. All on the I/O thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>

#include "backend/net/transport.h"
#include "backend/web/exchange.h"

namespace slipway::web {

// Called for each finished response: for counters and the log.
using RequestDone = std::function<void(const RequestHead& head, int status, int64_t milliseconds)>;

class Connection {
 public:
  virtual ~Connection() = default;
  virtual void start() = 0;
  // Ends it now, whatever it does.
  virtual void close() = 0;
};

// `site` and `io` must outlive the connection; `gone` is called once at its end.
std::shared_ptr<Connection> make_connection(boost::asio::io_context& io, std::unique_ptr<net::Transport> transport,
                                            Handler& site, RequestDone done, std::function<void()> gone);

}  // namespace slipway::web
