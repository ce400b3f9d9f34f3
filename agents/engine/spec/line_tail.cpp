// The reading side of events.jsonl and the logs, used by the agent.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "agents/engine/spec/events.h"
#include "backend/base/error.h"

namespace slipway::spec {

LineTail::LineTail(std::filesystem::path path, int64_t offset) : path_(std::move(path)), offset_(offset) {}

std::vector<std::string> LineTail::read(size_t max_bytes) {
  std::vector<std::string> lines;
  if (max_bytes == 0) return lines;
  const int fd = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    if (errno == ENOENT) return lines;
    throw base::system_error("cannot open " + path_.string(), errno);
  }
  std::string block(max_bytes, '\0');
  size_t filled = 0;
  int failure = 0;
  while (filled < max_bytes) {
    const ssize_t count = pread(fd, block.data() + filled, max_bytes - filled, offset_ + static_cast<int64_t>(filled));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) failure = errno;
    if (count <= 0) break;
    filled += static_cast<size_t>(count);
  }
  close(fd);
  if (failure != 0) throw base::system_error("cannot read " + path_.string(), failure);

  size_t begin = 0;
  while (begin < filled) {
    const size_t newline = block.find('\n', begin);
    if (newline == std::string::npos || newline >= filled) break;
    lines.push_back(block.substr(begin, newline - begin));
    begin = newline + 1;
  }
  if (lines.empty() && filled == max_bytes) {
    // One line larger than a whole read: hand it on in pieces rather than wait for ever.
    lines.push_back(std::move(block));
    begin = filled;
  }
  offset_ += static_cast<int64_t>(begin);
  return lines;
}

}  // namespace slipway::spec
