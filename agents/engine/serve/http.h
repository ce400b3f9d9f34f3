// HTTP as the rest of serve/ sees it: plain requests, responses and exchanges, without the library that speaks it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace slipway::serve {

struct HttpRequest {
  std::string method;
  std::string path;                            // without the query
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
  std::string client;  // address:port

  std::string header(const std::string& lower_case_name) const {
    const auto found = headers.find(lower_case_name);
    return found == headers.end() ? "" : found->second;
  }
};

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  HttpHeaders headers = {};
};

// One request and the answer to it, which is either one response or a stream. Any thread may answer.
class Exchange {
 public:
  virtual ~Exchange() = default;

  virtual const HttpRequest& request() const = 0;

  virtual void respond(HttpResponse response) = 0;

  virtual void begin_stream(const std::string& content_type) = 0;
  virtual void write(std::string data) = 0;
  virtual void end_stream() = 0;

  // `callback` runs once, on the server's thread, when the client leaves before the answer is complete; at once when it
  // has left already.
  virtual void on_disconnect(std::function<void()> callback) = 0;

  // Adds " key=value" pairs to the line of the access log.
  virtual void annotate(const std::string& pairs) = 0;
};

using HttpHandler = std::function<void(std::shared_ptr<Exchange>)>;

}  // namespace slipway::serve
