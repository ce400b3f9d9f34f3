// A connection's other side for the fuzzers: given bytes, in pieces of a given length, then their end. What is written
// to it is taken and forgotten.
#pragma once

#include <algorithm>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <functional>
#include <string>
#include <utility>

#include "backend/net/transport.h"

namespace slipway::net {

class FuzzTransport final : public net::Transport {
 public:
  FuzzTransport(boost::asio::io_context& io, std::string bytes, size_t piece)
      : io_(io), bytes_(std::move(bytes)), piece_(piece) {}

  void handshake(std::function<void(const boost::system::error_code&)> done) override { done({}); }
  void read_some(char* data, size_t size, Done done) override {
    const size_t count = std::min({size, piece_, bytes_.size() - at_});
    std::copy_n(bytes_.data() + at_, count, data);
    at_ += count;
    boost::asio::post(io_, [done = std::move(done), count] {
      done(count == 0 ? boost::system::error_code(boost::asio::error::eof) : boost::system::error_code(), count);
    });
  }
  void write(const char*, size_t size, Done done) override {
    boost::asio::post(io_, [done = std::move(done), size] { done({}, size); });
  }
  void finish_sending() override {}
  void close() override {}
  bool tls() const override { return false; }
  bool from_loopback() const override { return true; }

 private:
  boost::asio::io_context& io_;
  const std::string bytes_;
  const size_t piece_;
  size_t at_ = 0;
};

}  // namespace slipway::net
