// A small blocking HTTP client for tests: raw text out, what comes back in pieces. Every wait ends after ten seconds.
#pragma once

#include <map>
#include <string>

namespace slipway::web {

struct Reply {
  int status = 0;                              // 0: the connection ended before a whole head
  std::map<std::string, std::string> headers;  // names in lower case; of several, the last
  std::string body;                            // decoded when chunked
  bool whole = false;                          // the body ended as its framing says
};

class HttpClient {
 public:
  explicit HttpClient(int port);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  void send(const std::string& bytes);
  // Reads until `text` has come, and gives everything so far. Empty when the connection ends first.
  std::string read_until(const std::string& text);
  // The next whole response. head_only: it has no body (the request was HEAD).
  Reply read_reply(bool head_only = false);
  // True when the server has closed.
  bool at_end();
  void close();

 private:
  bool read_more();

  int socket_;
  std::string in_;
};

// One request on a connection of its own. `headers` are whole lines that end with \r\n.
Reply fetch(int port, const std::string& method, const std::string& target, const std::string& headers = "",
            const std::string& body = "");

}  // namespace slipway::web
