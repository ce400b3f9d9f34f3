// The HTTP/1.1 server: connections, limits and time-outs. Boost.Beast stays inside its .cpp files, which are slow to
// compile.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "agents/engine/serve/http.h"

namespace slipway::serve {

struct HttpLimits {
  int64_t max_connections = 1024;
  int64_t max_body_bytes = 16 << 20;
  int64_t max_header_bytes = 64 << 10;
  std::chrono::milliseconds read_timeout{30'000};   // for the head of a request; its body may take ten times that
  std::chrono::milliseconds write_timeout{30'000};  // without any progress
  std::chrono::milliseconds idle_timeout{75'000};   // between two requests of one connection
  std::chrono::milliseconds request_timeout{0};     // from a request's arrival to the end of its answer; 0: none
};

// PEM files; both empty: HTTP without TLS.
struct HttpTls {
  std::filesystem::path certificate;  // followed by those that vouch for it
  std::filesystem::path key;
};

// What the server refuses by itself (400, 408, 413, 431, 503) gets its body from here.
using HttpRefusal = std::function<HttpResponse(int status, const std::string& message)>;

// One line of the access log: no query, no body.
struct AccessRecord {
  std::string method, path, client, request_id;
  std::string trace;  // the W3C traceparent that came with it
  AccessNotes notes;
  int status = 0;
  int64_t bytes_sent = 0;
  double seconds = 0;
  bool client_left = false;
};

class HttpServer {
 public:
  // Binds address:port ("127.0.0.1:0", "[::1]:8080", "localhost:8080") and begins to accept. `handler` runs on one of
  // two worker threads and may take its time; `log` runs on the I/O thread. Throws base::Error.
  HttpServer(const std::string& listen, const HttpLimits& limits, const HttpTls& tls, HttpHandler handler,
             HttpRefusal refusal, std::function<void(const AccessRecord&)> log);
  ~HttpServer();  // closes every connection and joins its threads

  // http:// or https://address:port, with the port that was really taken.
  std::string url() const;

  // Reads certificate and key again, for connections to come. Any thread. Throws base::Error, and goes on with the old.
  void reload_tls();

  // Accepts no more connections and closes those without a request; answers under way go on. Any thread.
  void drain();
  // Exchanges that are not answered yet. Any thread.
  int64_t active() const;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace slipway::serve
