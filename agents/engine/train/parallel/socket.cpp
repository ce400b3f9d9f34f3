#include "agents/engine/train/parallel/socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <thread>
#include <utility>

#include "backend/base/error.h"

namespace slipway::train {

namespace {

using SteadyClock = std::chrono::steady_clock;
constexpr int kWakeMs = 500;

void prepare(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

// Addresses of a host, freed by its owner.
class Addresses {
 public:
  Addresses(const std::string& host, uint16_t port, int flags) {
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = flags;
    const int failure =
        getaddrinfo(host.empty() ? nullptr : host.c_str(), std::to_string(port).c_str(), &hints, &list_);
    if (failure != 0) {
      throw base::Error("RANK_UNREACHABLE", "the host " + host + " is unknown: " + gai_strerror(failure),
                        "check MASTER_ADDR and the hosts' names");
    }
  }
  ~Addresses() { freeaddrinfo(list_); }
  Addresses(const Addresses&) = delete;
  Addresses& operator=(const Addresses&) = delete;
  const addrinfo* first() const { return list_; }

 private:
  addrinfo* list_ = nullptr;
};

bool would_block() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

}  // namespace

Socket& Socket::operator=(Socket&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

void Socket::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

Socket listen_on(const std::string& host, uint16_t& port) {
  const Addresses addresses(host, 0, AI_PASSIVE);
  for (const addrinfo* a = addresses.first(); a != nullptr; a = a->ai_next) {
    Socket socket(::socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (socket.fd() < 0 || bind(socket.fd(), a->ai_addr, a->ai_addrlen) != 0 || listen(socket.fd(), 64) != 0) continue;
    sockaddr_storage bound{};
    socklen_t size = sizeof bound;
    getsockname(socket.fd(), reinterpret_cast<sockaddr*>(&bound), &size);
    port = ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(bound).sin6_port
                                             : reinterpret_cast<const sockaddr_in&>(bound).sin_port);
    return socket;
  }
  throw base::system_error("cannot listen on " + (host.empty() ? "any address" : host), errno);
}

Socket connect_to(const std::string& host, uint16_t port, std::chrono::milliseconds timeout) {
  const Addresses addresses(host, port, 0);
  const auto deadline = SteadyClock::now() + timeout;
  for (;;) {
    for (const addrinfo* a = addresses.first(); a != nullptr; a = a->ai_next) {
      Socket socket(::socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
      if (socket.fd() < 0 || connect(socket.fd(), a->ai_addr, a->ai_addrlen) != 0) continue;
      prepare(socket.fd());
      return socket;
    }
    if (SteadyClock::now() > deadline) {
      throw base::Error("RANK_UNREACHABLE", "cannot connect to " + host + " port " + std::to_string(port),
                        "check that the hosts reach each other on any port");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

Socket accept_from(const Socket& listener, const WhileWaiting& waiting) {
  for (;;) {
    pollfd entry{listener.fd(), POLLIN, 0};
    if (poll(&entry, 1, kWakeMs) > 0) {
      Socket socket(accept4(listener.fd(), nullptr, nullptr, SOCK_CLOEXEC));
      if (socket.fd() >= 0) {
        prepare(socket.fd());
        return socket;
      }
    }
    waiting();
  }
}

void exchange(const Socket& to, std::span<const std::byte> out, const Socket& from, std::span<std::byte> in,
              const WhileWaiting& waiting) {
  while (!out.empty() || !in.empty()) {
    std::array<pollfd, 2> entries{{{out.empty() ? -1 : to.fd(), POLLOUT, 0}, {in.empty() ? -1 : from.fd(), POLLIN, 0}}};
    const int ready = poll(entries.data(), entries.size(), kWakeMs);
    if (ready <= 0) {
      waiting();
      continue;
    }
    if (entries[0].revents != 0) {
      const ssize_t sent = send(to.fd(), out.data(), out.size(), MSG_NOSIGNAL);
      if (sent < 0 && !would_block()) throw ConnectionClosed{true};
      if (sent > 0) out = out.subspan(static_cast<size_t>(sent));
    }
    if (entries[1].revents != 0) {
      const ssize_t received = recv(from.fd(), in.data(), in.size(), 0);
      if (received == 0 || (received < 0 && !would_block())) throw ConnectionClosed{false};
      if (received > 0) in = in.subspan(static_cast<size_t>(received));
    }
  }
}

}  // namespace slipway::train
