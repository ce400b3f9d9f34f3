// TCP connections between the ranks of a job. Used by ring.cpp and group.cpp.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

namespace slipway::train {

// Owns a file descriptor.
class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) : fd_(fd) {}
  ~Socket() { close(); }
  Socket(Socket&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Socket& operator=(Socket&& other) noexcept;
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  int fd() const { return fd_; }
  void close();

 private:
  int fd_ = -1;
};

// Called about twice a second by whoever waits; throws to end the waiting.
using WhileWaiting = std::function<void()>;

// The other end of a connection has closed it.
struct ConnectionClosed {
  bool sending = false;  // towards it, else from it
};

// A listening socket on `host` (any address when empty), on a free port, which `port` becomes.
Socket listen_on(const std::string& host, uint16_t& port);
// Throws base::Error RANK_UNREACHABLE.
Socket connect_to(const std::string& host, uint16_t port, std::chrono::milliseconds timeout);
Socket accept_from(const Socket& listener, const WhileWaiting& waiting);

// Sends all of `out` on `to` while it receives all of `in` from `from`. Throws ConnectionClosed.
void exchange(const Socket& to, std::span<const std::byte> out, const Socket& from, std::span<std::byte> in,
              const WhileWaiting& waiting);

}  // namespace slipway::train
