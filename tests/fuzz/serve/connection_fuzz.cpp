// A connection of slipway-serve that gets any bytes, cut anywhere: the first byte says how long the pieces are. Every
// request that it makes of them is answered by it, and at the end the connection is closed.
#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>

#include "agents/engine/serve/http_connection.h"
#include "agents/engine/serve/routes.h"

namespace slipway::serve {
namespace {

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

class FuzzOwner final : public ConnectionOwner, public std::enable_shared_from_this<FuzzOwner> {
 public:
  explicit FuzzOwner(boost::asio::io_context& io) : io_(io) {
    limits_.max_body_bytes = 1000;
    limits_.max_header_bytes = 1000;
  }
  std::shared_ptr<ConnectionOwner> self() override { return shared_from_this(); }
  const HttpLimits& limits() const override { return limits_; }
  bool draining() const override { return false; }
  HttpResponse refuse(int status, const std::string& message) const override { return {status, "text/plain", message}; }
  void handle(std::shared_ptr<Exchange> exchange) override {
    const HttpRequest& request = exchange->request();
    if (request.body.size() > 1000) std::abort();
    decode_percent(request.path);
    if (request.method == "POST") {
      exchange->begin_stream("text/event-stream");
      exchange->write(request.body);
      exchange->end_stream();
    } else {
      exchange->respond({200, "text/plain", request.path});
    }
  }
  void on_io_thread(std::function<void()> work) override { boost::asio::post(io_, std::move(work)); }
  void on_worker(std::function<void()> work) override { boost::asio::post(io_, std::move(work)); }
  void began() override { ++open; }
  void ended(const AccessRecord&) override { --open; }
  void closed(const std::shared_ptr<Connection>&) override { gone = true; }

  int open = 0;
  bool gone = false;

 private:
  boost::asio::io_context& io_;
  HttpLimits limits_;
};

}  // namespace
}  // namespace slipway::serve

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace slipway::serve;
  if (size == 0) return 0;
  boost::asio::io_context io(1);
  const auto owner = std::make_shared<FuzzOwner>(io);
  std::make_shared<Connection>(
      std::make_unique<FuzzTransport>(io, std::string(reinterpret_cast<const char*>(data) + 1, size - 1), data[0] + 1U),
      "fuzz", io.get_executor(), *owner)
      ->start(true);
  // Timers aside, everything that can happen happens at once.
  while (io.poll() > 0) {
  }
  if (!owner->gone || owner->open != 0) std::abort();
  return 0;
}
