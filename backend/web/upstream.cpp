#include "backend/web/upstream.h"

#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <chrono>

#include "backend/web/server.h"

namespace slipway::web {
namespace {

namespace http = boost::beast::http;
using boost::asio::ip::tcp;
using boost::system::error_code;

constexpr std::chrono::seconds kConnectTime{5};
// A long prompt in a queue may wait; a replica that says nothing for so long is lost.
constexpr std::chrono::minutes kSilenceTime{10};
constexpr size_t kPieceBytes = 64 << 10;
constexpr uint32_t kMaxHeadBytes = 64 << 10;

class UpstreamImpl final : public Upstream, public std::enable_shared_from_this<UpstreamImpl> {
 public:
  UpstreamImpl(boost::asio::io_context& io, UpstreamRequest request, UpstreamEvents events)
      : stream_(io), request_(std::move(request)), events_(std::move(events)), piece_(kPieceBytes, '\0') {
    parser_.header_limit(kMaxHeadBytes);
    parser_.body_limit(boost::none);
  }

  void start() {
    std::string host;
    uint16_t port = 0;
    error_code error;
    if (!split_address(request_.address, host, port)) return fail_later("its address is malformed");
    const auto address = boost::asio::ip::make_address(host == "localhost" ? "127.0.0.1" : host, error);
    if (error) return fail_later("its address is no IP address");
    stream_.expires_after(kConnectTime);
    stream_.async_connect(tcp::endpoint(address, port), [self = shared_from_this()](const error_code& failure) {
      if (failure) return self->fail(failure.message());
      self->send();
    });
  }

  void cancel() override {
    events_ = {};
    stream_.close();
  }

 private:
  void send() {
    error_code ignored;
    stream_.socket().set_option(tcp::no_delay(true), ignored);
    text_ = request_.method + " " + request_.target + " HTTP/1.1\r\nHost: " + request_.address +
            "\r\nConnection: close\r\n";
    for (const Header& header : request_.headers) text_ += header.name + ": " + header.value + "\r\n";
    text_ += "Content-Length: " + std::to_string(request_.body.size()) + "\r\n\r\n" + request_.body;
    request_.body.clear();
    stream_.expires_after(kSilenceTime);
    boost::asio::async_write(stream_, boost::asio::buffer(text_),
                             [self = shared_from_this()](const error_code& failure, size_t) {
                               if (failure) return self->fail(failure.message());
                               self->read_head();
                             });
  }

  void read_head() {
    stream_.expires_after(kSilenceTime);
    http::async_read_header(stream_, buffer_, parser_, [self = shared_from_this()](const error_code& failure, size_t) {
      if (failure) return self->fail(failure.message());
      self->got_head();
    });
  }

  void got_head() {
    if (!events_.head) return;
    const auto& message = parser_.get();
    std::vector<Header> headers;
    for (const auto& field : message) headers.push_back({std::string(field.name_string()), std::string(field.value())});
    const auto length = parser_.content_length();
    have_head_ = true;
    const auto head = std::move(events_.head);
    head(static_cast<int>(message.result_int()), std::move(headers), length ? static_cast<int64_t>(*length) : -1,
         [self = shared_from_this()] { self->read_piece(); });
  }

  void read_piece() {
    if (parser_.is_done()) return end();
    auto& body = parser_.get().body();
    body.data = piece_.data();
    body.size = piece_.size();
    stream_.expires_after(kSilenceTime);
    // As soon as there is something: a token must not wait for the next one.
    http::async_read_some(stream_, buffer_, parser_, [self = shared_from_this()](error_code failure, size_t) {
      if (failure == http::error::need_buffer) failure = {};
      if (failure) return self->fail(failure.message());
      const size_t size = self->piece_.size() - self->parser_.get().body().size;
      if (size == 0) return self->read_piece();
      if (self->events_.piece) self->events_.piece(self->piece_.substr(0, size), [self] { self->read_piece(); });
    });
  }

  void end() {
    const auto events = std::exchange(events_, {});
    if (events.end) events.end();
  }

  void fail(const std::string& what) {
    const auto events = std::exchange(events_, {});
    if (events.failed) events.failed(what, !have_head_);
  }

  void fail_later(const std::string& what) {
    boost::asio::post(stream_.get_executor(), [self = shared_from_this(), what] { self->fail(what); });
  }

  boost::beast::tcp_stream stream_;
  UpstreamRequest request_;
  UpstreamEvents events_;
  std::string text_;
  boost::beast::flat_buffer buffer_;
  http::response_parser<http::buffer_body> parser_;
  std::string piece_;
  bool have_head_ = false;
};

}  // namespace

std::shared_ptr<Upstream> start_upstream(boost::asio::io_context& io, UpstreamRequest request, UpstreamEvents events) {
  auto upstream = std::make_shared<UpstreamImpl>(io, std::move(request), std::move(events));
  upstream->start();
  return upstream;
}

}  // namespace slipway::web
