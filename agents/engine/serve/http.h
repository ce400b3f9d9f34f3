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
  std::string id;      // x-request-id as the client gave it, or a new one

  std::string header(const std::string& lower_case_name) const {
    const auto found = headers.find(lower_case_name);
    return found == headers.end() ? "" : found->second;
  }
};

// What the access log says about a request beside HTTP: never a prompt or an answer.
struct AccessNotes {
  std::string model;
  int64_t prompt_tokens = -1, completion_tokens = -1;  // -1: not known
  double first_token_seconds = -1;                     // from the request on; -1: there was none
  std::string finish;                                  // stop, length, abort, error
};

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  HttpHeaders headers = {};
};

// Why nobody waits for an answer any more.
enum class Abandoned { kClientLeft, kTimedOut };

// One request and the answer to it, which is either one response or a stream. Any thread may answer.
class Exchange {
 public:
  virtual ~Exchange() = default;

  virtual const HttpRequest& request() const = 0;

  virtual void respond(HttpResponse response) = 0;

  virtual void begin_stream(const std::string& content_type) = 0;
  virtual void write(std::string data) = 0;
  virtual void end_stream() = 0;

  // `callback` runs once, on the server's thread, when the client leaves before the answer is complete or the time for
  // a request has passed; at once when that has happened already. The last callback given counts. A request whose time
  // has passed still wants an answer.
  virtual void on_abandoned(std::function<void(Abandoned)> callback) = 0;

  // Runs `work` on one of the server's workers, soon; never, when the server ends before that.
  virtual void defer(std::function<void()> work) = 0;

  // For the line of the access log; the last call counts.
  virtual void note(AccessNotes notes) = 0;
};

using HttpHandler = std::function<void(std::shared_ptr<Exchange>)>;

}  // namespace slipway::serve
