// One HTTP request to a replica, whose response is passed on as it comes. Used by openai_gateway.cpp. All on the I/O
// thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backend/web/http.h"

namespace slipway::web {

struct UpstreamRequest {
  std::string address;  // HOST:PORT, a number and no name
  std::string method;
  std::string target;
  std::vector<Header> headers;
  std::string body;
};

// What the replica answers. `next` asks for the piece after; nothing is read before.
struct UpstreamEvents {
  std::function<void(int status, std::vector<Header> headers, int64_t content_length, std::function<void()> next)> head;
  std::function<void(std::string piece, std::function<void()> next)> piece;
  std::function<void()> end;
  // before_head: nothing has come yet, so another answer can be given.
  std::function<void(const std::string& what, bool before_head)> failed;
};

class Upstream {
 public:
  virtual ~Upstream() = default;
  // No further event comes.
  virtual void cancel() = 0;
};

std::shared_ptr<Upstream> start_upstream(boost::asio::io_context& io, UpstreamRequest request, UpstreamEvents events);

}  // namespace slipway::web
