#include "agents/engine/serve/http_exchange.h"

#include <algorithm>
#include <boost/beast/http/status.hpp>

#include "agents/engine/serve/http_connection.h"
#include "backend/base/clock.h"
#include "backend/base/ids.h"

namespace slipway::serve {

namespace http = boost::beast::http;

namespace {

constexpr size_t kMaxRequestIdBytes = 128;
constexpr size_t kMaxTraceStateBytes = 512;  // W3C's Trace Context asks to pass on at least so many

std::string status_line(int status) {
  return "HTTP/1.1 " + std::to_string(status) + " " +
         std::string(http::obsolete_reason(static_cast<http::status>(status))) + "\r\n";
}

// version-trace-parent-flags in lower-case hexadecimal digits, as W3C's Trace Context has it; else empty.
std::string trace_parent(const HttpRequest& request) {
  const std::string given = request.header("traceparent");
  if (given.size() != 55) return "";
  for (size_t i = 0; i < given.size(); ++i) {
    const bool dash = i == 2 || i == 35 || i == 52;
    const char c = given[i];
    if (dash ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return "";
  }
  return given;
}

// It counts only beside a traceparent.
std::string trace_state(const HttpRequest& request) {
  const std::string given = request.header("tracestate");
  const auto good = [](unsigned char c) { return c >= 0x20 && c < 0x7F; };
  const bool passed_on = given.size() <= kMaxTraceStateBytes && std::all_of(given.begin(), given.end(), good) &&
                         !trace_parent(request).empty();
  return passed_on ? given : "";
}

}  // namespace

std::string request_id(const std::string& given) {
  const auto good = [](unsigned char c) { return c > 0x20 && c < 0x7F; };
  if (!given.empty() && given.size() <= kMaxRequestIdBytes && std::all_of(given.begin(), given.end(), good))
    return given;
  return base::new_id("req", base::SystemClock().now_ms());
}

ConnectionExchange::ConnectionExchange(HttpRequest request, std::weak_ptr<Connection> connection,
                                       std::shared_ptr<ConnectionOwner> owner, bool keep_alive, bool chunked)
    : request_(std::move(request)),
      owner_(std::move(owner)),
      connection_(std::move(connection)),
      keep_alive_(keep_alive),
      chunked_(chunked),
      trace_parent_(trace_parent(request_)),
      trace_state_(trace_state(request_)),
      begin_(std::chrono::steady_clock::now()) {}

void ConnectionExchange::respond(HttpResponse response) {
  std::string data = status_line(response.status);
  data +=
      "Content-Type: " + response.content_type + "\r\nContent-Length: " + std::to_string(response.body.size()) + "\r\n";
  data += common_headers();
  for (const auto& [name, value] : response.headers) data += name + ": " + value + "\r\n";
  data += "\r\n";
  if (request_.method != "HEAD") data += response.body;
  post(std::move(data), true, response.status);
}

void ConnectionExchange::begin_stream(const std::string& content_type) {
  post(status_line(200) + "Content-Type: " + content_type + "\r\nCache-Control: no-cache\r\nX-Accel-Buffering: no\r\n" +
           (chunked_ ? "Transfer-Encoding: chunked\r\n" : "") + common_headers() + "\r\n",
       false, 200);
}

void ConnectionExchange::write(std::string data) {
  if (data.empty()) return;
  if (chunked_) {
    char size[20];
    std::snprintf(size, sizeof size, "%zx\r\n", data.size());
    data = size + data + "\r\n";
  }
  post(std::move(data), false, 0);
}

void ConnectionExchange::on_abandoned(std::function<void(Abandoned)> callback) {
  Abandoned why = Abandoned::kTimedOut;
  {
    const std::lock_guard lock(mutex_);
    if (complete_) return;
    if (!left_ && !timed_out_) {
      callback_ = std::move(callback);
      return;
    }
    if (left_) why = Abandoned::kClientLeft;
  }
  callback(why);
}

void ConnectionExchange::defer(std::function<void()> work) { owner_->on_worker(std::move(work)); }

void ConnectionExchange::note(AccessNotes notes) {
  const std::lock_guard lock(mutex_);
  notes_ = std::move(notes);
}

void ConnectionExchange::time_out() {
  std::function<void(Abandoned)> callback;
  {
    const std::lock_guard lock(mutex_);
    if (complete_ || left_ || timed_out_) return;
    timed_out_ = true;
    callback = std::exchange(callback_, nullptr);
  }
  if (callback) callback(Abandoned::kTimedOut);
}

AccessRecord ConnectionExchange::finish(bool client_left) {
  std::function<void(Abandoned)> callback;
  AccessRecord record;
  {
    const std::lock_guard lock(mutex_);
    complete_ = !client_left;
    left_ = client_left;
    callback = std::exchange(callback_, nullptr);
    record.notes = notes_;
  }
  if (client_left && callback) callback(Abandoned::kClientLeft);
  record.method = request_.method;
  record.path = request_.path;
  record.client = request_.client;
  record.request_id = request_.id;
  record.trace = trace_parent_;
  record.status = status_;
  record.bytes_sent = bytes_;
  record.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  record.client_left = client_left;
  return record;
}

std::string ConnectionExchange::common_headers() const {
  std::string headers = std::string("X-Content-Type-Options: nosniff\r\nConnection: ") +
                        (keep_alive_ ? "keep-alive" : "close") + "\r\nX-Request-Id: " + request_.id + "\r\n";
  if (!trace_parent_.empty()) headers += "traceparent: " + trace_parent_ + "\r\n";
  if (!trace_state_.empty()) headers += "tracestate: " + trace_state_ + "\r\n";
  return headers;
}

// `status`: of the answer that begins with `data`; 0 for what follows.
void ConnectionExchange::post(std::string data, bool last, int status) {
  owner_->on_io_thread([self = shared_from_this(), data = std::move(data), last, status]() mutable {
    const std::shared_ptr<Connection> connection = self->connection_.lock();
    if (!connection || self->left_ || self->complete_) return;
    if (status != 0) self->status_ = status;
    self->bytes_ += static_cast<int64_t>(data.size());
    connection->send(std::move(data), last);
  });
}

}  // namespace slipway::serve
