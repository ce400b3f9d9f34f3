// A file descriptor that is closed with its holder. For files, sockets and folders.
#pragma once

#include <unistd.h>

namespace slipway::base {

class Descriptor {
 public:
  // Negative: none, as system calls answer when they fail.
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

}  // namespace slipway::base
