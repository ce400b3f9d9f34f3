#include "agents/node/replica_client.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>

#include "backend/base/descriptor.h"

namespace slipway::node {
namespace {

using Clock = std::chrono::steady_clock;
constexpr size_t kMostAnswerBytes = 8 << 20;

absl::Status failed(const std::string& what) {
  return absl::UnavailableError("the engine's address does not answer: " + what);
}

bool wait_for(int fd, short events, Clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
  pollfd descriptor{fd, events, 0};
  return left > 0 && poll(&descriptor, 1, static_cast<int>(left)) == 1;
}

// The host without brackets, and the port.
bool split_url(const std::string& url, std::string& host, uint16_t& port) {
  constexpr std::string_view kScheme = "http://";
  if (url.rfind(kScheme, 0) != 0) return false;
  std::string address = url.substr(kScheme.size());
  address = address.substr(0, address.find('/'));
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return false;
  host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  const char* end = address.data() + address.size();
  const auto read = std::from_chars(address.data() + colon + 1, end, port);
  return read.ec == std::errc() && read.ptr == end;
}

absl::StatusOr<int> connect_to(const std::string& url, Clock::time_point deadline) {
  std::string host;
  uint16_t port = 0;
  if (!split_url(url, host, port)) return absl::InvalidArgumentError("'" + url + "' is no http://ADDRESS:PORT");
  sockaddr_storage address{};
  socklen_t length = 0;
  auto* four = reinterpret_cast<sockaddr_in*>(&address);
  auto* six = reinterpret_cast<sockaddr_in6*>(&address);
  if (inet_pton(AF_INET, host.c_str(), &four->sin_addr) == 1) {
    four->sin_family = AF_INET;
    four->sin_port = htons(port);
    length = sizeof *four;
  } else if (inet_pton(AF_INET6, host.c_str(), &six->sin6_addr) == 1) {
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(port);
    length = sizeof *six;
  } else {
    return absl::InvalidArgumentError("'" + host + "' is no numeric address");
  }
  const int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return failed(std::strerror(errno));
  int error = 0;
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), length) != 0) {
    error = errno;
    socklen_t size = sizeof error;
    if (error == EINPROGRESS) {
      error = ETIMEDOUT;
      if (wait_for(fd, POLLOUT, deadline)) getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    }
  }
  if (error == 0) return fd;
  close(fd);
  return failed(std::strerror(error));
}

absl::StatusOr<std::string> exchange(int fd, const std::string& request, Clock::time_point deadline) {
  for (size_t sent = 0; sent < request.size();) {
    if (!wait_for(fd, POLLOUT, deadline)) return failed("it takes no request");
    const ssize_t count = send(fd, request.data() + sent, request.size() - sent, MSG_NOSIGNAL);
    if (count < 0 && errno != EAGAIN) return failed(std::strerror(errno));
    if (count > 0) sent += static_cast<size_t>(count);
  }
  std::string answer;
  char piece[16384];
  while (wait_for(fd, POLLIN, deadline)) {
    const ssize_t count = recv(fd, piece, sizeof piece, 0);
    if (count == 0) return answer;
    if (count < 0 && errno != EAGAIN) return failed(std::strerror(errno));
    if (count > 0) answer.append(piece, static_cast<size_t>(count));
    if (answer.size() > kMostAnswerBytes) return failed("its answer is over 8 MiB");
  }
  return failed("it did not answer in time");
}

}  // namespace

absl::StatusOr<HttpAnswer> call_replica(const std::string& url, const std::string& method, const std::string& path,
                                        const std::string& body, std::chrono::milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  const auto fd = connect_to(url, deadline);
  if (!fd.ok()) return fd.status();
  const base::Descriptor socket(*fd);
  std::string request =
      method + " " + path + " HTTP/1.1\r\nHost: " + url.substr(sizeof "http://" - 1) + "\r\nConnection: close\r\n";
  if (!body.empty()) {
    request += "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
  }
  const auto text = exchange(socket.get(), request + "\r\n" + body, deadline);
  if (!text.ok()) return text.status();
  // HTTP/1.1 200 OK
  const size_t head_end = text->find("\r\n\r\n");
  const size_t space = text->find(' ');
  HttpAnswer answer;
  if (head_end == std::string::npos || space == std::string::npos || space > 16 ||
      std::from_chars(text->data() + space + 1, text->data() + head_end, answer.status).ec != std::errc()) {
    return failed("its answer is no HTTP");
  }
  answer.body = text->substr(head_end + 4);
  return answer;
}

}  // namespace slipway::node
