#include "backend/web/server.h"

#include <spdlog/spdlog.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <charconv>
#include <future>
#include <map>
#include <thread>
#include <utility>

#include "backend/base/status.h"
#include "backend/net/transport.h"
#include "backend/web/connection.h"

namespace slipway::web {
namespace {

using boost::asio::ip::tcp;
using boost::system::error_code;

constexpr size_t kMaxConnections = 512;

class WebServerImpl final : public WebServer {
 public:
  WebServerImpl() : io_(1), work_(boost::asio::make_work_guard(io_)), acceptor_(io_), retry_(io_) {}
  ~WebServerImpl() override {
    stop();
    work_.reset();
    io_.stop();
    if (thread_.joinable()) thread_.join();
  }

  absl::Status open(const WebServerOptions& options) {
    const auto refused = [&](const std::string& why) {
      return base::error(absl::StatusCode::kUnavailable, "cannot listen for HTTP on " + options.listen + ": " + why,
                         {"CANNOT_LISTEN", "", "another program may have that port: choose another with --web-listen"});
    };
    std::string host;
    uint16_t port = 0;
    if (!split_address(options.listen, host, port)) return refused("this is no HOST:PORT");
    error_code error;
    tcp::resolver resolver(io_);
    const auto found = resolver.resolve(host, std::to_string(port), tcp::resolver::passive, error);
    if (error || found.empty()) return refused(error.message());
    const tcp::endpoint endpoint = found.begin()->endpoint();
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(boost::asio::socket_base::max_listen_connections, error);
    if (error) return refused(error.message());
    port_ = acceptor_.local_endpoint().port();
    try {
      transports_ = options.tls_certificate.empty() ? net::plain_transports()
                                                    : net::tls_transports(options.tls_certificate, options.tls_key);
    } catch (const std::exception& exception) {
      return base::error(absl::StatusCode::kInvalidArgument,
                         std::string("the TLS files cannot be used: ") + exception.what(),
                         {"INVALID_TLS", "", "give PEM files of a certificate chain and its key"});
    }
    return absl::OkStatus();
  }

  int port() const override { return port_; }
  boost::asio::io_context& io() override { return io_; }

  void start(Handler& site, std::function<void(const RequestHead&, int, int64_t)> request_done) override {
    site_ = &site;
    request_done_ = std::move(request_done);
    accept();
    thread_ = std::thread([this] { run(); });
  }

  void stop() override {
    if (!thread_.joinable() || std::exchange(stopped_, true)) return;
    std::promise<void> closed;
    boost::asio::post(io_, [&, this] {
      stopping_ = true;
      error_code ignored;
      acceptor_.close(ignored);
      retry_.cancel();
      const auto connections = connections_;
      for (const auto& [number, weak] : connections) {
        if (const auto connection = weak.lock()) connection->close();
      }
      closed.set_value();
    });
    closed.get_future().wait();
  }

 private:
  void run() {
    while (true) {
      try {
        io_.run();
        return;
      } catch (const std::exception& exception) {
        // A handler threw: its exchange is lost, the server is not.
        spdlog::error("web handler failed error=\"{}\"", exception.what());
      }
    }
  }

  void accept() {
    acceptor_.async_accept([this](const error_code& error, tcp::socket socket) {
      if (stopping_ || error == boost::asio::error::operation_aborted) return;
      if (error) {
        // Out of descriptors, mostly: wait for some to come back.
        retry_.expires_after(std::chrono::milliseconds(100));
        retry_.async_wait([this](const error_code& cancelled) {
          if (!cancelled && !stopping_) accept();
        });
        return;
      }
      if (connections_.size() < kMaxConnections) {
        const int64_t number = ++last_number_;
        const auto connection = make_connection(io_, transports_->make(std::move(socket)), *site_, request_done_,
                                                [this, number] { connections_.erase(number); });
        connections_[number] = connection;
        connection->start();
      }
      accept();
    });
  }

  // Declared first, destroyed last: handlers that wait in it hold connections, which take themselves off the map.
  std::map<int64_t, std::weak_ptr<Connection>> connections_;
  int64_t last_number_ = 0;
  boost::asio::io_context io_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  tcp::acceptor acceptor_;
  boost::asio::steady_timer retry_;
  std::unique_ptr<net::TransportMaker> transports_;
  Handler* site_ = nullptr;
  std::function<void(const RequestHead&, int, int64_t)> request_done_;
  int port_ = 0;
  bool stopping_ = false;  // on the I/O thread
  bool stopped_ = false;   // on the owner's
  std::thread thread_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<WebServer>> WebServer::listen(const WebServerOptions& options) {
  auto server = std::make_unique<WebServerImpl>();
  if (absl::Status status = server->open(options); !status.ok()) return status;
  return server;
}

bool split_address(const std::string& address, std::string& host, uint16_t& port) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0) return false;
  host = address.substr(0, colon);
  if (host.front() == '[') {
    if (host.size() < 3 || host.back() != ']') return false;
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string::npos) {
    return false;
  }
  const char* begin = address.data() + colon + 1;
  const char* end = address.data() + address.size();
  const auto [stopped, error] = std::from_chars(begin, end, port);
  return error == std::errc() && stopped == end && begin != end;
}

bool is_loopback_host(const std::string& host) {
  if (same_name(host, "localhost")) return true;
  error_code error;
  const auto address = boost::asio::ip::make_address(host, error);
  return !error && address.is_loopback();
}

}  // namespace slipway::web
