#include "agents/engine/serve/http_connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <mutex>

#include "backend/base/clock.h"
#include "backend/base/ids.h"

namespace slipway::serve {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;

namespace {

constexpr size_t kMaxUnsentBytes = size_t{32} << 20U;  // a client that reads this much slower than we write is cut off
constexpr int kBodyTimeFactor = 10;
constexpr auto kLingerTime = std::chrono::seconds(2);
constexpr size_t kMaxRequestIdBytes = 128;
constexpr size_t kLingerBytes = size_t{64} << 20U;

std::string status_line(int status) {
  return "HTTP/1.1 " + std::to_string(status) + " " +
         std::string(http::obsolete_reason(static_cast<http::status>(status))) + "\r\n";
}

// The client's own, when it can stand in a header and a log line; else a new one.
std::string request_id(const std::string& given) {
  const auto good = [](unsigned char c) { return c > 0x20 && c < 0x7F; };
  if (!given.empty() && given.size() <= kMaxRequestIdBytes && std::all_of(given.begin(), given.end(), good))
    return given;
  return base::new_id("req", base::SystemClock().now_ms());
}

// version-trace-parent-flags in lower-case hexadecimal digits, as W3C's Trace Context has it; else empty.
std::string traceparent(const HttpRequest& request) {
  const std::string given = request.header("traceparent");
  if (given.size() != 55) return "";
  for (size_t i = 0; i < given.size(); ++i) {
    const bool dash = i == 2 || i == 35 || i == 52;
    const char c = given[i];
    if (dash ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return "";
  }
  return given;
}

}  // namespace

struct Connection::Parser {
  http::request_parser<http::string_body> value;
};

// The exchange that handlers see. Its methods may be called on any thread and hand over to the I/O thread.
class ConnectionExchange : public Exchange, public std::enable_shared_from_this<ConnectionExchange> {
 public:
  ConnectionExchange(HttpRequest request, std::weak_ptr<Connection> connection, asio::any_io_executor executor,
                     std::shared_ptr<void> server, bool keep_alive, bool chunked)
      : request_(std::move(request)),
        server_(std::move(server)),
        connection_(std::move(connection)),
        executor_(std::move(executor)),
        keep_alive_(keep_alive),
        chunked_(chunked),
        begin_(std::chrono::steady_clock::now()) {}

  const HttpRequest& request() const override { return request_; }

  void respond(HttpResponse response) override {
    std::string data = status_line(response.status);
    data += "Content-Type: " + response.content_type + "\r\nContent-Length: " + std::to_string(response.body.size()) +
            "\r\n";
    data += common_headers();
    for (const auto& [name, value] : response.headers) data += name + ": " + value + "\r\n";
    data += "\r\n";
    if (request_.method != "HEAD") data += response.body;
    post(std::move(data), true, response.status);
  }

  void begin_stream(const std::string& content_type) override {
    post(status_line(200) + "Content-Type: " + content_type +
             "\r\nCache-Control: no-cache\r\nX-Accel-Buffering: no\r\n" +
             (chunked_ ? "Transfer-Encoding: chunked\r\n" : "") + common_headers() + "\r\n",
         false, 200);
  }

  void write(std::string data) override {
    if (data.empty()) return;
    if (chunked_) {
      char size[20];
      std::snprintf(size, sizeof size, "%zx\r\n", data.size());
      data = size + data + "\r\n";
    }
    post(std::move(data), false, 0);
  }

  void end_stream() override { post(chunked_ ? "0\r\n\r\n" : "", true, 0); }

  void on_disconnect(std::function<void()> callback) override {
    {
      const std::lock_guard lock(mutex_);
      if (complete_) return;
      if (!left_) {
        callback_ = std::move(callback);
        return;
      }
    }
    callback();
  }

  void note(AccessNotes notes) override {
    const std::lock_guard lock(mutex_);
    notes_ = std::move(notes);
  }

  // On the I/O thread: the answer is out, or the client has gone.
  AccessRecord finish(bool client_left) {
    std::function<void()> callback;
    AccessRecord record;
    {
      const std::lock_guard lock(mutex_);
      complete_ = !client_left;
      left_ = client_left;
      callback = std::move(callback_);
      callback_ = nullptr;
      record.notes = notes_;
    }
    if (client_left && callback) callback();
    record.method = request_.method;
    record.path = request_.path;
    record.client = request_.client;
    record.request_id = request_.id;
    record.trace = traceparent(request_);
    record.status = status_;
    record.bytes_sent = bytes_;
    record.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
    record.client_left = client_left;
    return record;
  }

 private:
  std::string common_headers() const {
    return std::string("X-Content-Type-Options: nosniff\r\nConnection: ") + (keep_alive_ ? "keep-alive" : "close") +
           "\r\nX-Request-Id: " + request_.id + "\r\n";
  }

  void post(std::string data, bool last, int status) {
    asio::post(executor_, [self = shared_from_this(), data = std::move(data), last, status]() mutable {
      const std::shared_ptr<Connection> connection = self->connection_.lock();
      if (!connection || self->left_ || self->complete_) return;
      if (status != 0) self->status_ = status;
      self->bytes_ += static_cast<int64_t>(data.size());
      connection->send(std::move(data), last);
    });
  }

  const HttpRequest request_;
  const std::shared_ptr<void> server_;
  const std::weak_ptr<Connection> connection_;
  const asio::any_io_executor executor_;
  const bool keep_alive_, chunked_;
  const std::chrono::steady_clock::time_point begin_;
  int status_ = 0;     // the I/O thread's
  int64_t bytes_ = 0;  // the I/O thread's

  std::mutex mutex_;  // for what follows; complete_ and left_ are written on the I/O thread alone
  std::function<void()> callback_;
  AccessNotes notes_;
  bool complete_ = false, left_ = false;
};

Connection::Connection(asio::ip::tcp::socket socket, ConnectionOwner& owner)
    : stream_(std::move(socket)),
      owner_(owner),
      buffer_(static_cast<size_t>(owner.limits().max_header_bytes) + (256U << 10U)),
      read_timer_(stream_.get_executor()) {
  error_code ignored;
  const auto endpoint = stream_.socket().remote_endpoint(ignored);
  if (!ignored) client_ = endpoint.address().to_string() + ":" + std::to_string(endpoint.port());
  stream_.socket().set_option(asio::ip::tcp::no_delay(true), ignored);
}

Connection::~Connection() = default;

void Connection::start(bool room) {
  if (!room) {
    refuse(503, "too many connections");
    return;
  }
  read_request();
}

void Connection::read_request() {
  if (closed_) return;
  parser_ = std::make_unique<Parser>();
  parser_->value.header_limit(static_cast<uint32_t>(owner_.limits().max_header_bytes));
  parser_->value.body_limit(static_cast<uint64_t>(owner_.limits().max_body_bytes));
  if (buffer_.size() > 0) {
    read_head();
    return;
  }
  stream_.expires_after(owner_.limits().idle_timeout);
  stream_.async_read_some(buffer_.prepare(8192), [self = shared_from_this()](error_code failure, size_t count) {
    if (failure || self->closed_) {
      self->close();
      return;
    }
    self->buffer_.commit(count);
    self->read_head();
  });
}

void Connection::read_head() {
  mid_request_ = true;
  stream_.expires_never();
  limit_reading(owner_.limits().read_timeout);
  http::async_read_header(stream_, buffer_, parser_->value, [self = shared_from_this()](error_code failure, size_t) {
    if (self->closed_) return;
    self->end_limit();
    if (failure == http::error::header_limit || failure == http::error::buffer_overflow) {
      self->refuse(431,
                   "the headers are larger than " + std::to_string(self->owner_.limits().max_header_bytes) + " bytes");
    } else if (failure == http::error::body_limit) {
      self->refuse(413, "the body is larger than " + std::to_string(self->owner_.limits().max_body_bytes) + " bytes");
    } else if (failure && self->read_timed_out_) {
      self->refuse(408, "the request did not come in time");
    } else if (failure == http::error::end_of_stream || failure == asio::error::eof ||
               failure == asio::error::connection_reset) {
      self->close();
    } else if (failure) {
      self->refuse(400, "this is no HTTP/1.1 request: " + failure.message());
    } else {
      self->read_body();
    }
  });
}

void Connection::limit_reading(std::chrono::milliseconds time) {
  read_timed_out_ = false;
  read_timer_.expires_after(time);
  read_timer_.async_wait([self = shared_from_this(), limit = ++read_limit_](error_code cancelled) {
    if (cancelled || self->closed_ || limit != self->read_limit_) return;
    self->read_timed_out_ = true;
    error_code ignored;
    self->stream_.socket().cancel(ignored);
  });
}

void Connection::end_limit() {
  ++read_limit_;
  read_timer_.cancel();
}

void Connection::read_body() {
  const auto& head = parser_->value.get();
  if (beast::iequals(head[http::field::expect], "100-continue") && !parser_->value.is_done()) {
    // Small and first on the wire, so that it can be written without the queue.
    static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    error_code ignored;
    asio::write(stream_.socket(), asio::buffer(kContinue), ignored);
  }
  limit_reading(owner_.limits().read_timeout * kBodyTimeFactor);
  http::async_read(stream_, buffer_, parser_->value, [self = shared_from_this()](error_code failure, size_t) {
    if (self->closed_) return;
    self->end_limit();
    if (failure == http::error::body_limit) {
      self->refuse(413, "the body is larger than " + std::to_string(self->owner_.limits().max_body_bytes) + " bytes");
    } else if (failure && self->read_timed_out_) {
      self->refuse(408, "the request did not come in time");
    } else if (failure == http::error::partial_message || failure == asio::error::eof ||
               failure == asio::error::connection_reset) {
      self->close();
    } else if (failure) {
      self->refuse(400, "this is no HTTP/1.1 request: " + failure.message());
    } else {
      self->take_request();
    }
  });
}

void Connection::take_request() {
  auto message = parser_->value.release();
  parser_.reset();
  mid_request_ = false;
  keep_alive_ = message.keep_alive() && !owner_.draining();
  HttpRequest request;
  request.method = std::string(message.method_string());
  const std::string_view target(message.target().data(), message.target().size());
  request.path = std::string(target.substr(0, target.find('?')));
  for (const auto& field : message) {
    std::string name(field.name_string());
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; });
    request.headers.insert_or_assign(std::move(name), std::string(field.value()));
  }
  request.body = std::move(message.body());
  request.client = client_;
  request.id = request_id(request.header("x-request-id"));
  stream_.expires_never();
  exchange_ = std::make_shared<ConnectionExchange>(std::move(request), weak_from_this(), stream_.get_executor(),
                                                   owner_.self(), keep_alive_, message.version() >= 11);
  owner_.began();
  watch_for_leaving();
  owner_.handle(exchange_);
}

// An answer of the server itself, after which nothing on this connection can be trusted.
void Connection::refuse(int status, const std::string& message) {
  keep_alive_ = false;
  HttpRequest request;
  request.method = "-";
  request.path = "-";
  request.client = client_;
  request.id = request_id("");
  exchange_ = std::make_shared<ConnectionExchange>(std::move(request), weak_from_this(), stream_.get_executor(),
                                                   owner_.self(), false, true);
  owner_.began();
  exchange_->respond(owner_.refuse(status, message));
}

// While a request is being answered nothing is read, so the end of the stream must be looked for.
void Connection::watch_for_leaving() {
  if (watching_ || closed_) return;
  watching_ = true;
  stream_.socket().async_wait(asio::ip::tcp::socket::wait_read, [self = shared_from_this()](error_code failure) {
    self->watching_ = false;
    if (failure || self->closed_ || !self->exchange_) return;
    char byte = 0;
    const ssize_t count = recv(self->stream_.socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    const bool gone = count == 0 || (count < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
    if (gone) {
      self->close();
    } else if (count < 0) {
      self->watch_for_leaving();
    }
    // Else the next request waits already; its bytes hide whether the client stays.
  });
}

void Connection::send(std::string data, bool last) {
  if (closed_) return;
  if (to_send_.empty()) {
    to_send_ = std::move(data);
  } else {
    to_send_ += data;
  }
  last_queued_ = last_queued_ || last;
  if (to_send_.size() > kMaxUnsentBytes) {
    close();
    return;
  }
  if (!writing_) flush();
}

void Connection::flush() {
  if (to_send_.empty()) {
    if (last_queued_) answered();
    return;
  }
  writing_ = true;
  sending_ = std::move(to_send_);
  to_send_.clear();
  stream_.expires_after(owner_.limits().write_timeout);
  asio::async_write(stream_, asio::buffer(sending_), [self = shared_from_this()](error_code failure, size_t) {
    self->writing_ = false;
    if (self->closed_) return;
    if (failure) {
      self->close();
      return;
    }
    self->stream_.expires_never();
    self->flush();
  });
}

void Connection::answered() {
  last_queued_ = false;
  const std::shared_ptr<ConnectionExchange> done = std::move(exchange_);
  exchange_ = nullptr;
  if (done) owner_.ended(done->finish(false));
  if (keep_alive_ && !owner_.draining()) {
    read_request();
    return;
  }
  error_code ignored;
  stream_.socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  mid_request_ = false;
  buffer_.clear();
  linger(kLingerBytes);
}

void Connection::close_when_idle() {
  if (!exchange_ && !mid_request_) close();
}

// Closing with unread bytes would reset the connection and could take the answer away from the client.
void Connection::linger(size_t bytes_left) {
  stream_.expires_after(kLingerTime);
  stream_.async_read_some(buffer_.prepare(8192),
                          [self = shared_from_this(), bytes_left](error_code failure, size_t count) {
                            if (failure || self->closed_ || count >= bytes_left) {
                              self->close();
                              return;
                            }
                            self->linger(bytes_left - count);
                          });
}

void Connection::close() {
  if (closed_) return;
  closed_ = true;
  end_limit();
  error_code ignored;
  stream_.socket().close(ignored);
  const std::shared_ptr<ConnectionExchange> open = std::move(exchange_);
  exchange_ = nullptr;
  if (open) owner_.ended(open->finish(true));
  owner_.closed(shared_from_this());
}

}  // namespace slipway::serve
