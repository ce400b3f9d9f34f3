#include "agents/engine/serve/http_server.h"

#include <spdlog/spdlog.h>

#include <atomic>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <set>
#include <thread>

#include "agents/engine/serve/http_connection.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::serve {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;

namespace {

constexpr size_t kMaxPemBytes = size_t{1} << 20U;

std::pair<std::string, std::string> split_address(const std::string& listen) {
  const size_t colon = listen.rfind(':');
  std::string host = colon == std::string::npos ? "" : listen.substr(0, colon);
  const std::string port = colon == std::string::npos ? "" : listen.substr(colon + 1);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  const bool digits = !port.empty() && port.size() <= 5 && port.find_first_not_of("0123456789") == std::string::npos;
  if (host.empty() || !digits || std::stoi(port) > 65535) {
    throw base::Error(base::kInvalidSpec, "listen is \"" + listen + "\"; expected address:port, e.g. 127.0.0.1:8080",
                      "port 0 takes any free port");
  }
  return {host, port};
}

std::unique_ptr<net::TransportMaker> make_transports(const HttpTls& tls) {
  if (tls.certificate.empty() && tls.key.empty()) return net::plain_transports();
  if (tls.certificate.empty() || tls.key.empty()) {
    throw base::Error(base::kInvalidSpec, "TLS needs a certificate and its key",
                      "give both ssl_certfile and ssl_keyfile");
  }
  const std::string certificate = base::read_file(tls.certificate, kMaxPemBytes);
  const std::string key = base::read_file(tls.key, kMaxPemBytes);
  try {
    return net::tls_transports(certificate, key);
  } catch (const std::exception& error) {
    throw base::Error(base::kInvalidSpec,
                      "the certificate " + tls.certificate.string() + " and the key " + tls.key.string() +
                          " cannot be used: " + error.what(),
                      "both must be PEM files, the key without a passphrase and of this certificate");
  }
}

std::string address_text(const tcp::endpoint& endpoint) {
  const std::string address = endpoint.address().to_string();
  return (endpoint.address().is_v6() ? "[" + address + "]" : address) + ":" + std::to_string(endpoint.port());
}

}  // namespace

class HttpServer::Impl : public ConnectionOwner, public std::enable_shared_from_this<HttpServer::Impl> {
 public:
  Impl(const HttpLimits& limits, const HttpTls& tls, HttpHandler handler, HttpRefusal refusal,
       std::function<void(const AccessRecord&)> log)
      : limits_(limits),
        tls_(tls),
        handler_(std::move(handler)),
        refusal_(std::move(refusal)),
        log_(std::move(log)),
        transports_(make_transports(tls)) {}

  void open(const std::string& listen) {
    const auto [host, port] = split_address(listen);
    boost::system::error_code failure;
    tcp::resolver resolver(io_);
    const auto found = resolver.resolve(host, port, tcp::resolver::passive, failure);
    if (failure || found.empty()) {
      throw base::Error(base::kNotFound, "cannot find the address " + host + ": " + failure.message(),
                        "use an address of this machine, e.g. 127.0.0.1");
    }
    const tcp::endpoint endpoint = *found.begin();
    acceptor_.open(endpoint.protocol(), failure);
    if (!failure) acceptor_.set_option(asio::socket_base::reuse_address(true), failure);
    if (!failure) acceptor_.bind(endpoint, failure);
    if (!failure) acceptor_.listen(asio::socket_base::max_listen_connections, failure);
    if (failure) {
      throw base::Error(base::kIo, "cannot listen on " + listen + ": " + failure.message(),
                        "choose another port, or port 0 for any free one");
    }
    url_ = (tls_.key.empty() ? "http://" : "https://") + address_text(acceptor_.local_endpoint());
    accept();
    io_thread_ = std::thread([this] { io_.run(); });
  }

  void close() {
    closing_ = true;
    asio::post(io_, [this] {
      draining_ = true;
      close_acceptor();
      const std::set<std::shared_ptr<Connection>> all = connections_;
      for (const auto& connection : all) connection->close();
      work_.reset();
    });
    workers_.join();  // handlers under way may still answer; their connections are gone
    if (io_thread_.joinable()) io_thread_.join();
    ended_ = true;
    io_.restart();
    io_.poll();  // what came too late; it holds exchanges, which hold this
  }

  void drain() {
    draining_ = true;
    asio::post(io_, [self = shared_from_this()] {
      self->close_acceptor();
      const std::set<std::shared_ptr<Connection>> all = self->connections_;
      for (const auto& connection : all) connection->close_when_idle();
    });
  }

  void reload_tls() {
    std::shared_ptr<net::TransportMaker> fresh = make_transports(tls_);
    asio::post(io_, [self = shared_from_this(), fresh = std::move(fresh)] { self->transports_ = fresh; });
  }

  const std::string& url() const { return url_; }
  int64_t active() const { return active_; }

  // ConnectionOwner
  std::shared_ptr<ConnectionOwner> self() override { return shared_from_this(); }
  const HttpLimits& limits() const override { return limits_; }
  bool draining() const override { return draining_; }
  HttpResponse refuse(int status, const std::string& message) const override { return refusal_(status, message); }
  void handle(std::shared_ptr<Exchange> exchange) override {
    asio::post(workers_, [this, exchange = std::move(exchange)] { handler_(exchange); });
  }
  void on_io_thread(std::function<void()> work) override {
    if (!ended_) asio::post(io_, std::move(work));
  }
  void on_worker(std::function<void()> work) override {
    if (!closing_) asio::post(workers_, std::move(work));
  }
  void began() override { ++active_; }
  void ended(const AccessRecord& record) override {
    --active_;
    log_(record);
  }
  void closed(const std::shared_ptr<Connection>& connection) override { connections_.erase(connection); }

 private:
  void accept() {
    acceptor_.async_accept([this](boost::system::error_code failure, tcp::socket socket) {
      if (draining_) return;
      if (failure) {
        // Out of file descriptors and the like: wait for some to come back.
        spdlog::warn("cannot accept a connection error=\"{}\"", failure.message());
        retry_.expires_after(std::chrono::milliseconds(100));
        retry_.async_wait([this](boost::system::error_code cancelled) {
          if (!cancelled && !draining_) accept();
        });
        return;
      }
      boost::system::error_code ignored;
      const tcp::endpoint peer = socket.remote_endpoint(ignored);
      auto connection = std::make_shared<Connection>(transports_->make(std::move(socket)), address_text(peer),
                                                     io_.get_executor(), *this);
      connections_.insert(connection);
      const bool room = static_cast<int64_t>(connections_.size()) <= limits_.max_connections;
      connection->start(room);
      accept();
    });
  }

  void close_acceptor() {
    boost::system::error_code ignored;
    acceptor_.close(ignored);
    retry_.cancel();
  }

  const HttpLimits limits_;
  const HttpTls tls_;
  HttpHandler handler_;
  HttpRefusal refusal_;
  std::function<void(const AccessRecord&)> log_;
  std::string url_;
  std::atomic<bool> draining_{false}, closing_{false}, ended_{false};
  std::atomic<int64_t> active_{0};

  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_{io_.get_executor()};
  tcp::acceptor acceptor_{io_};
  asio::steady_timer retry_{io_};
  std::set<std::shared_ptr<Connection>> connections_;  // the I/O thread's alone
  std::shared_ptr<net::TransportMaker> transports_;    // the I/O thread's alone
  asio::thread_pool workers_{2};
  std::thread io_thread_;
};

HttpServer::HttpServer(const std::string& listen, const HttpLimits& limits, const HttpTls& tls, HttpHandler handler,
                       HttpRefusal refusal, std::function<void(const AccessRecord&)> log)
    : impl_(std::make_shared<Impl>(limits, tls, std::move(handler), std::move(refusal), std::move(log))) {
  impl_->open(listen);
}

HttpServer::~HttpServer() { impl_->close(); }

std::string HttpServer::url() const { return impl_->url(); }
void HttpServer::reload_tls() { impl_->reload_tls(); }
void HttpServer::drain() { impl_->drain(); }
int64_t HttpServer::active() const { return impl_->active(); }

}  // namespace slipway::serve
