#include "backend/web/connection.h"

#include <spdlog/spdlog.h>

#include <array>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <chrono>
#include <optional>
#include <vector>

namespace slipway::web {
namespace {

namespace http = boost::beast::http;
using boost::system::error_code;
using std::chrono::seconds;
using SteadyClock = std::chrono::steady_clock;

constexpr uint32_t kMaxHeadBytes = 32 * 1024;
constexpr size_t kMaxHeaders = 100;
constexpr size_t kPieceBytes = 64 * 1024;
// What a client may send ahead while its request is being answered.
constexpr size_t kMaxAheadBytes = 64 * 1024;
constexpr size_t kMaxDrainBytes = 1 << 20;
constexpr seconds kHandshakeTime{10};
constexpr seconds kHeadTime{15};
constexpr seconds kIdleTime{75};
constexpr seconds kBodyTime{60};
constexpr seconds kWriteTime{60};
constexpr seconds kDrainTime{2};

class ConnectionImpl;

// The handler's side of one request. Lives as long as anybody holds it; does nothing once the connection is gone.
class ExchangeImpl final : public Exchange, public std::enable_shared_from_this<ExchangeImpl> {
 public:
  ExchangeImpl(std::shared_ptr<ConnectionImpl> connection, boost::asio::io_context& io, RequestHead head)
      : connection_(std::move(connection)), io_(io), head_(std::move(head)), started_(SteadyClock::now()) {}

  const RequestHead& head() const override { return head_; }
  void read_body(size_t max_bytes, std::function<void(std::string)> done) override;
  void read_piece(std::function<void(std::string)> done) override;
  void respond(Response response) override;
  void begin(int status, std::vector<Header> headers, int64_t content_length) override;
  void write(std::string piece, std::function<void()> done) override;
  void end() override;
  void abort() override;
  void on_closed(std::function<void()> callback) override { on_closed_ = std::move(callback); }
  bool closed() const override { return connection_ == nullptr; }
  void resume(std::function<void()> action) override { boost::asio::post(io_, std::move(action)); }

  // For the connection: the client has left, or the response is complete.
  void leave(bool complete);
  // Its handler threw.
  void fail() { status_ == 0 ? respond({500, {}, ""}) : abort(); }
  int status() const { return status_; }
  int64_t milliseconds() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(SteadyClock::now() - started_).count();
  }

 private:
  void collect_body(size_t max_bytes, std::shared_ptr<std::string> body, std::function<void(std::string)> done);

  std::shared_ptr<ConnectionImpl> connection_;
  boost::asio::io_context& io_;
  const RequestHead head_;
  const SteadyClock::time_point started_;
  std::function<void()> on_closed_;
  int status_ = 0;
  bool chunked_ = false;
};

class ConnectionImpl final : public Connection, public std::enable_shared_from_this<ConnectionImpl> {
 public:
  ConnectionImpl(boost::asio::io_context& io, std::unique_ptr<net::Transport> transport, Handler& site,
                 RequestDone done, std::function<void()> gone)
      : io_(io),
        transport_(std::move(transport)),
        site_(site),
        request_done_(std::move(done)),
        gone_(std::move(gone)),
        timer_(io) {}

  ~ConnectionImpl() override {
    if (gone_) gone_();
  }

  void start() override {
    arm(kHandshakeTime);
    transport_->handshake([self = shared_from_this()](const error_code& error) {
      if (error) return self->close();
      self->next_request();
    });
  }

  void close() override {
    if (state_ == State::kClosed) return;
    state_ = State::kClosed;
    timer_.cancel();
    transport_->close();
    piece_wanted_ = nullptr;
    written_.clear();
    if (const auto exchange = std::move(exchange_)) exchange->leave(false);
  }

  void read_piece(std::function<void(std::string)> done) {
    piece_wanted_ = std::move(done);
    if (!continued_ && expects_continue_) {
      continued_ = true;
      send("HTTP/1.1 100 Continue\r\n\r\n", nullptr);
    }
    continue_body();
  }

  void send(std::string data, std::function<void()> done) {
    if (state_ == State::kClosed) return;
    out_ += data;
    if (done) written_.push_back(std::move(done));
    pump();
  }

  void complete_response() {
    response_complete_ = true;
    pump();
  }

  bool keeps_alive() const { return parser_->keep_alive() && parser_->is_done(); }
  bool http10() const { return parser_->get().version() == 10; }
  // The response said so.
  void close_after_response() { closes_ = true; }

 private:
  enum class State { kHead, kRequest, kDraining, kClosed };

  void arm(seconds time) {
    timer_.expires_after(time);
    timer_.async_wait([weak = weak_from_this()](const error_code& error) {
      const auto self = weak.lock();
      if (!error && self) self->close();
    });
  }

  void next_request() {
    parser_.emplace();
    parser_->header_limit(kMaxHeadBytes);
    parser_->body_limit(boost::none);
    state_ = State::kHead;
    continued_ = expects_continue_ = response_complete_ = false;
    arm(kIdleTime);
    parse_head();
  }

  void read_more() {
    if (reading_ || state_ == State::kClosed) return;
    reading_ = true;
    transport_->read_some(read_buffer_.data(), read_buffer_.size(),
                          [self = shared_from_this()](const error_code& error, size_t size) {
                            self->reading_ = false;
                            if (error || size == 0) return self->close();
                            self->received(size);
                          });
  }

  void received(size_t size) {
    if (state_ == State::kClosed) return;
    if (state_ == State::kDraining) {
      drained_ += size;
      if (drained_ > kMaxDrainBytes) return close();
      return read_more();
    }
    in_.append(read_buffer_.data(), size);
    if (state_ == State::kHead) return parse_head();
    if (piece_wanted_) return continue_body();
    watch();
  }

  // Keeps a read under way while a request is being answered, to notice that the client leaves.
  void watch() {
    if (parser_->is_done() && in_.size() < kMaxAheadBytes) read_more();
  }

  void parse_head() {
    error_code error;
    while (!in_.empty() && !parser_->is_header_done() && !error) {
      const size_t used = parser_->put(boost::asio::buffer(in_), error);
      in_.erase(0, used);
      if (used == 0) break;
    }
    if (error && error != http::error::need_more) {
      refuse(error == http::error::header_limit ? 431 : 400);
      return;
    }
    if (parser_->is_header_done()) return dispatch();
    if (!in_.empty() || parser_->got_some()) arm(kHeadTime);
    read_more();
  }

  void dispatch() {
    const auto& message = parser_->get();
    RequestHead head;
    head.method = std::string(message.method_string());
    const auto target = message.target();
    const size_t question = target.find('?');
    head.path = std::string(target.substr(0, question));
    if (question != boost::beast::string_view::npos) head.query = std::string(target.substr(question + 1));
    for (const auto& field : message) {
      head.headers.push_back({std::string(field.name_string()), std::string(field.value())});
    }
    head.tls = transport_->tls();
    head.from_loopback = transport_->from_loopback();
    if (head.headers.size() > kMaxHeaders) return refuse(431);
    if (message.version() != 11 && message.version() != 10) return refuse(400);
    expects_continue_ = same_name(head.header("expect"), "100-continue");
    state_ = State::kRequest;
    timer_.cancel();
    exchange_ = std::make_shared<ExchangeImpl>(shared_from_this(), io_, std::move(head));
    const auto exchange = exchange_;
    watch();
    try {
      site_.handle(exchange);
    } catch (const std::exception& exception) {
      spdlog::error("web handler failed path={} error=\"{}\"", exchange->head().path, exception.what());
      exchange->fail();
    }
  }

  // Answers what is no request, and closes.
  void refuse(int status) {
    state_ = State::kRequest;
    out_ += "HTTP/1.1 " + std::to_string(status) + " " + reason_phrase(status) +
            "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    closes_ = true;
    complete_response();
  }

  void continue_body() {
    if (!piece_wanted_) return;
    // As much as is here in one piece: a body of tiny chunks must not cost a call each.
    std::string piece(kPieceBytes, '\0');
    size_t filled = 0;
    size_t at = 0;
    while (!parser_->is_done() && at < in_.size() && filled < piece.size()) {
      auto& body = parser_->get().body();
      body.data = piece.data() + filled;
      body.size = piece.size() - filled;
      body.more = true;
      error_code error;
      const size_t used = parser_->put(boost::asio::buffer(in_.data() + at, in_.size() - at), error);
      const size_t produced = piece.size() - filled - body.size;
      at += used;
      filled += produced;
      if (error && error != http::error::need_buffer && error != http::error::need_more) return close();
      if (used == 0 && produced == 0) break;
    }
    in_.erase(0, at);
    piece.resize(filled);
    if (filled > 0 || parser_->is_done()) return deliver(std::move(piece));
    arm(kBodyTime);
    read_more();
  }

  void deliver(std::string piece) {
    timer_.cancel();
    const auto done = std::move(piece_wanted_);
    piece_wanted_ = nullptr;
    if (piece.empty()) watch();
    done(std::move(piece));
  }

  void pump() {
    if (writing_ || state_ == State::kClosed) return;
    if (out_.empty()) {
      if (response_complete_) finish();
      return;
    }
    writing_ = true;
    sending_.swap(out_);
    out_.clear();
    arm(kWriteTime);
    transport_->write(sending_.data(), sending_.size(),
                      [self = shared_from_this(), callbacks = std::move(written_)](const error_code& error, size_t) {
                        self->writing_ = false;
                        if (error) return self->close();
                        if (self->state_ == State::kClosed) return;
                        self->timer_.cancel();
                        self->sending_.clear();
                        for (const auto& callback : callbacks) callback();
                        self->pump();
                      });
    written_.clear();
  }

  void finish() {
    const auto exchange = std::move(exchange_);
    if (exchange) {
      request_done_(exchange->head(), exchange->status(), exchange->milliseconds());
      exchange->leave(true);
    }
    if (!closes_ && keeps_alive()) {
      // Not from here: this may run inside a handler's call.
      boost::asio::post(io_, [self = shared_from_this()] {
        if (self->state_ == State::kRequest) self->next_request();
      });
      return;
    }
    // Closing while the client still sends would make it lose the response.
    state_ = State::kDraining;
    transport_->finish_sending();
    arm(kDrainTime);
    read_more();
  }

  boost::asio::io_context& io_;
  const std::unique_ptr<net::Transport> transport_;
  Handler& site_;
  const RequestDone request_done_;
  std::function<void()> gone_;
  boost::asio::steady_timer timer_;

  State state_ = State::kHead;
  std::optional<http::request_parser<http::buffer_body>> parser_;
  std::shared_ptr<ExchangeImpl> exchange_;
  std::function<void(std::string)> piece_wanted_;
  bool expects_continue_ = false;
  bool continued_ = false;
  bool closes_ = false;

  bool reading_ = false;
  std::array<char, kPieceBytes> read_buffer_;
  std::string in_;
  size_t drained_ = 0;

  bool writing_ = false;
  bool response_complete_ = false;
  std::string out_;
  std::string sending_;
  std::vector<std::function<void()>> written_;
};

void ExchangeImpl::leave(bool complete) {
  connection_.reset();
  const auto callback = std::move(on_closed_);
  on_closed_ = nullptr;
  if (!complete && callback) callback();
}

void ExchangeImpl::read_piece(std::function<void(std::string)> done) {
  if (connection_) connection_->read_piece(std::move(done));
}

void ExchangeImpl::read_body(size_t max_bytes, std::function<void(std::string)> done) {
  collect_body(max_bytes, std::make_shared<std::string>(), std::move(done));
}

void ExchangeImpl::collect_body(size_t max_bytes, std::shared_ptr<std::string> body,
                                std::function<void(std::string)> done) {
  read_piece([self = shared_from_this(), max_bytes, body, done = std::move(done)](std::string piece) mutable {
    if (piece.empty()) return done(std::move(*body));
    if (body->size() + piece.size() > max_bytes) {
      return self->respond({413,
                            {{"Content-Type", "text/plain; charset=utf-8"}},
                            "The request is larger than " + std::to_string(max_bytes) + " bytes.\n"});
    }
    body->append(piece);
    self->collect_body(max_bytes, std::move(body), std::move(done));
  });
}

void ExchangeImpl::respond(Response response) {
  if (!connection_) return;
  const bool head_only = head_.method == "HEAD";
  begin(response.status, std::move(response.headers), static_cast<int64_t>(response.body.size()));
  if (!head_only && !response.body.empty()) connection_->send(std::move(response.body), nullptr);
  connection_->complete_response();
}

void ExchangeImpl::begin(int status, std::vector<Header> headers, int64_t content_length) {
  if (!connection_) return;
  status_ = status;
  std::string text = "HTTP/1.1 " + std::to_string(status) + " " + reason_phrase(status) + "\r\n";
  for (const Header& header : headers) {
    // A value with a line break would start a header of its own.
    if (header.value.find_first_of("\r\n") != std::string::npos) continue;
    text += header.name + ": " + header.value + "\r\n";
  }
  const bool no_body = status == 204 || status == 304;
  chunked_ = content_length < 0 && !no_body && !connection_->http10();
  if (chunked_) {
    text += "Transfer-Encoding: chunked\r\n";
  } else if (content_length >= 0 && !no_body) {
    text += "Content-Length: " + std::to_string(content_length) + "\r\n";
  }
  const bool keep_alive = connection_->keeps_alive() && (chunked_ || content_length >= 0 || no_body);
  if (!keep_alive) connection_->close_after_response();
  text += keep_alive ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
  connection_->send(std::move(text), nullptr);
}

void ExchangeImpl::write(std::string piece, std::function<void()> done) {
  if (!connection_) return;
  if (piece.empty() || head_.method == "HEAD") {
    if (done) resume(std::move(done));
    return;
  }
  if (chunked_) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string size;
    for (size_t rest = piece.size(); rest > 0; rest >>= 4U) size.insert(size.begin(), kDigits[rest & 15U]);
    piece = size + "\r\n" + piece + "\r\n";
  }
  connection_->send(std::move(piece), std::move(done));
}

void ExchangeImpl::end() {
  if (!connection_) return;
  if (chunked_ && head_.method != "HEAD") connection_->send("0\r\n\r\n", nullptr);
  connection_->complete_response();
}

void ExchangeImpl::abort() {
  if (const auto connection = connection_) connection->close();
}

}  // namespace

std::shared_ptr<Connection> make_connection(boost::asio::io_context& io, std::unique_ptr<net::Transport> transport,
                                            Handler& site, RequestDone done, std::function<void()> gone) {
  return std::make_shared<ConnectionImpl>(io, std::move(transport), site, std::move(done), std::move(gone));
}

}  // namespace slipway::web
