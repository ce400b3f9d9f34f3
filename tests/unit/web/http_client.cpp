#include "tests/unit/web/http_client.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <stdexcept>

namespace slipway::web {

HttpClient::HttpClient(int port) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  timeval wait{10, 0};
  setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
  setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    throw std::runtime_error("cannot connect to port " + std::to_string(port));
  }
}

HttpClient::~HttpClient() { close(); }

void HttpClient::close() {
  if (socket_ >= 0) ::close(socket_);
  socket_ = -1;
}

void HttpClient::send(const std::string& bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t sent = ::send(socket_, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
    if (sent <= 0) return;  // the server has closed; what it said is read next
    done += static_cast<size_t>(sent);
  }
}

bool HttpClient::read_more() {
  char buffer[16384];
  const ssize_t got = recv(socket_, buffer, sizeof buffer, 0);
  if (got <= 0) return false;
  in_.append(buffer, static_cast<size_t>(got));
  return true;
}

std::string HttpClient::read_until(const std::string& text) {
  size_t at = in_.find(text);
  while (at == std::string::npos) {
    if (!read_more()) return "";
    at = in_.find(text);
  }
  const std::string result = in_.substr(0, at + text.size());
  in_.erase(0, at + text.size());
  return result;
}

bool HttpClient::at_end() { return in_.empty() && !read_more(); }

Reply HttpClient::read_reply(bool head_only) {
  Reply reply;
  std::string head = read_until("\r\n\r\n");
  if (head.size() < 12) return reply;
  reply.status = std::stoi(head.substr(9, 3));
  size_t at = head.find("\r\n") + 2;
  while (at < head.size() - 2) {
    const size_t end = head.find("\r\n", at);
    const std::string line = head.substr(at, end - at);
    const size_t colon = line.find(':');
    std::string name = line.substr(0, colon);
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    reply.headers[name] = line.substr(std::min(colon + 2, line.size()));
    at = end + 2;
  }
  if (reply.status == 100) return read_reply(head_only);
  if (head_only || reply.status == 304 || reply.status == 204) {
    reply.whole = true;
    return reply;
  }
  if (reply.headers["transfer-encoding"] == "chunked") {
    while (true) {
      const std::string size_line = read_until("\r\n");
      if (size_line.empty()) return reply;
      const size_t size = std::stoul(size_line, nullptr, 16);
      while (in_.size() < size + 2) {
        if (!read_more()) return reply;
      }
      reply.body += in_.substr(0, size);
      in_.erase(0, size + 2);
      if (size == 0) break;
    }
    reply.whole = true;
    return reply;
  }
  const size_t length = reply.headers.contains("content-length") ? std::stoul(reply.headers["content-length"]) : 0;
  while (in_.size() < length) {
    if (!read_more()) break;
  }
  reply.body = in_.substr(0, length);
  reply.whole = reply.body.size() == length;
  in_.erase(0, reply.body.size());
  return reply;
}

Reply fetch(int port, const std::string& method, const std::string& target, const std::string& headers,
            const std::string& body) {
  HttpClient client(port);
  std::string text = method + " " + target + " HTTP/1.1\r\n";
  if (headers.find("Host:") == std::string::npos) text += "Host: 127.0.0.1:" + std::to_string(port) + "\r\n";
  text += headers;
  if (!body.empty() || method == "POST" || method == "PUT")
    text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  client.send(text + "\r\n" + body);
  return client.read_reply(method == "HEAD");
}

}  // namespace slipway::web
