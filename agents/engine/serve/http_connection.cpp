#include "agents/engine/serve/http_connection.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include "agents/engine/serve/http_exchange.h"

namespace slipway::serve {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;

namespace {

constexpr size_t kMaxUnsentBytes = size_t{32} << 20U;  // a client that reads this much slower than we write is cut off
constexpr size_t kWriteBytes = size_t{256} << 10U;     // at once; each has the whole time limit
constexpr size_t kMaxAheadBytes = size_t{64} << 10U;   // what a client may send while its request is being answered
constexpr int kBodyTimeFactor = 10;
constexpr auto kLingerTime = std::chrono::seconds(2);
constexpr size_t kLingerBytes = size_t{64} << 20U;
constexpr std::chrono::milliseconds kNoLimit{0};
constexpr char kContinue[] = "HTTP/1.1 100 Continue\r\n\r\n";

std::string lower_case(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return text;
}

}  // namespace

struct Connection::Parser {
  http::request_parser<http::string_body> value;
};

Connection::Connection(std::unique_ptr<net::Transport> transport, std::string client,
                       const asio::any_io_executor& executor, ConnectionOwner& owner)
    : transport_(std::move(transport)),
      client_(std::move(client)),
      owner_(owner),
      phase_timer_(executor),
      write_timer_(executor) {}

Connection::~Connection() = default;

void Connection::start(bool room) {
  enter(Phase::kHandshake, owner_.limits().read_timeout);
  transport_->handshake([self = shared_from_this(), room](const error_code& failure) {
    if (self->closed_) return;
    if (failure) {
      self->close();
    } else if (!room) {
      self->refuse(503, "too many connections");
    } else {
      self->await_request();
    }
  });
}

void Connection::enter(Phase phase, std::chrono::milliseconds limit) {
  phase_ = phase;
  ++phase_number_;
  phase_timer_.cancel();
  if (limit == kNoLimit) return;
  phase_timer_.expires_after(limit);
  phase_timer_.async_wait([self = shared_from_this(), number = phase_number_](const error_code& cancelled) {
    if (!cancelled && !self->closed_ && number == self->phase_number_) self->phase_is_late();
  });
}

void Connection::phase_is_late() {
  switch (phase_) {
    case Phase::kHandshake:
    case Phase::kIdle:
    case Phase::kLinger:
      close();
      return;
    case Phase::kHead:
    case Phase::kBody:
      refuse(408, "the request did not come in time");
      return;
    case Phase::kAnswer:
      if (exchange_) exchange_->time_out();
      return;
  }
}

void Connection::read() {
  if (reading_ || closed_) return;
  reading_ = true;
  transport_->read_some(buffer_.data(), buffer_.size(),
                        [self = shared_from_this()](const error_code& failure, size_t count) {
                          self->reading_ = false;
                          if (self->closed_) return;
                          failure ? self->close() : self->received(count);
                        });
}

void Connection::received(size_t count) {
  if (phase_ == Phase::kLinger) {
    lingered_bytes_ += count;
    lingered_bytes_ > kLingerBytes ? close() : read();
    return;
  }
  received_.append(buffer_.data(), count);
  if (phase_ != Phase::kAnswer) {
    parse();
  } else if (received_.size() < kMaxAheadBytes) {
    read();
  }
}

void Connection::await_request() {
  parser_ = std::make_unique<Parser>();
  parser_->value.eager(true);
  parser_->value.header_limit(static_cast<uint32_t>(owner_.limits().max_header_bytes));
  parser_->value.body_limit(static_cast<uint64_t>(owner_.limits().max_body_bytes));
  enter(Phase::kIdle, owner_.limits().idle_timeout);
  received_.empty() ? read() : parse();
}

void Connection::parse() {
  if (phase_ == Phase::kIdle) enter(Phase::kHead, owner_.limits().read_timeout);
  auto& parser = parser_->value;
  error_code failure;
  size_t used = 0;
  while (!failure && used < received_.size() && !parser.is_done()) {
    used += parser.put(asio::buffer(received_.data() + used, received_.size() - used), failure);
  }
  received_.erase(0, used);
  if (failure == http::error::header_limit) {
    refuse(431, "the headers are larger than " + std::to_string(owner_.limits().max_header_bytes) + " bytes");
  } else if (failure == http::error::body_limit) {
    refuse(413, "the body is larger than " + std::to_string(owner_.limits().max_body_bytes) + " bytes");
  } else if (failure && failure != http::error::need_more) {
    refuse(400, "this is no HTTP/1.1 request: " + failure.message());
  } else if (parser.is_done()) {
    take_request();
  } else {
    if (parser.is_header_done() && phase_ == Phase::kHead) {
      enter(Phase::kBody, owner_.limits().read_timeout * kBodyTimeFactor);
      if (beast::iequals(parser.get()[http::field::expect], "100-continue")) send(kContinue, false);
    }
    read();
  }
}

void Connection::take_request() {
  auto message = parser_->value.release();
  parser_.reset();
  keep_alive_ = message.keep_alive() && !owner_.draining();
  HttpRequest request;
  request.method = std::string(message.method_string());
  const std::string_view target(message.target().data(), message.target().size());
  request.path = std::string(target.substr(0, target.find('?')));
  for (const auto& field : message)
    request.headers.insert_or_assign(lower_case(std::string(field.name_string())), std::string(field.value()));
  request.body = std::move(message.body());
  request.id = request_id(request.header("x-request-id"));
  exchange_begins(std::move(request), message.version() >= 11);
  enter(Phase::kAnswer, owner_.limits().request_timeout);
  if (received_.size() < kMaxAheadBytes) read();
  owner_.handle(exchange_);
}

void Connection::exchange_begins(HttpRequest request, bool chunked) {
  request.client = client_;
  exchange_ =
      std::make_shared<ConnectionExchange>(std::move(request), weak_from_this(), owner_.self(), keep_alive_, chunked);
  owner_.began();
}

// An answer of the server itself, after which nothing on this connection can be trusted.
void Connection::refuse(int status, const std::string& message) {
  keep_alive_ = false;
  received_.clear();
  HttpRequest request;
  request.method = request.path = "-";
  request.id = request_id("");
  exchange_begins(std::move(request), true);
  enter(Phase::kAnswer, kNoLimit);
  exchange_->respond(owner_.refuse(status, message));
}

void Connection::send(std::string data, bool last) {
  if (closed_) return;
  if (to_send_.empty()) {
    to_send_ = std::move(data);
  } else if (to_send_.size() + data.size() > kMaxUnsentBytes) {
    close();
    return;
  } else {
    to_send_ += data;
  }
  last_queued_ = last_queued_ || last;
  if (!writing_) flush();
}

void Connection::flush() {
  if (sent_ == sending_.size()) {
    sending_ = std::exchange(to_send_, {});
    sent_ = 0;
  }
  if (sending_.empty()) {
    if (last_queued_) answered();
    return;
  }
  writing_ = true;
  write_timer_.expires_after(owner_.limits().write_timeout);
  write_timer_.async_wait([self = shared_from_this(), number = ++write_number_](const error_code& cancelled) {
    if (!cancelled && number == self->write_number_) self->close();
  });
  const size_t count = std::min(sending_.size() - sent_, kWriteBytes);
  transport_->write(sending_.data() + sent_, count,
                    [self = shared_from_this(), count](const error_code& failure, size_t) {
                      self->writing_ = false;
                      ++self->write_number_;
                      self->write_timer_.cancel();
                      if (self->closed_) return;
                      if (failure) {
                        self->close();
                        return;
                      }
                      self->sent_ += count;
                      self->flush();
                    });
}

void Connection::answered() {
  last_queued_ = false;
  const std::shared_ptr<ConnectionExchange> done = std::exchange(exchange_, nullptr);
  if (done) owner_.ended(done->finish(false));
  if (keep_alive_ && !owner_.draining()) {
    await_request();
    return;
  }
  // Closing with unread bytes would reset the connection and could take the answer away from the client.
  transport_->finish_sending();
  received_.clear();
  enter(Phase::kLinger, kLingerTime);
  read();
}

void Connection::close_when_idle() {
  if (phase_ == Phase::kHandshake || phase_ == Phase::kIdle) close();
}

void Connection::close() {
  if (closed_) return;
  closed_ = true;
  ++phase_number_;
  phase_timer_.cancel();
  write_timer_.cancel();
  transport_->close();
  const std::shared_ptr<ConnectionExchange> open = std::exchange(exchange_, nullptr);
  if (open) owner_.ended(open->finish(true));
  owner_.closed(shared_from_this());
}

}  // namespace slipway::serve
