#include "agents/engine/train/checkpoints/hashed_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "backend/base/error.h"

namespace slipway::train {

HashedFile::HashedFile(std::filesystem::path path) : path_(std::move(path)), buffer_(kBlocks) {
  constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
  fd_ = open(path_.c_str(), kFlags | O_DIRECT, 0644);
  if (fd_ < 0 && errno == EINVAL) {
    // Some file systems have made the file by then.
    unlink(path_.c_str());
    past_cache_ = false;
    fd_ = open(path_.c_str(), kFlags, 0644);
  }
  if (fd_ < 0) throw base::system_error("create " + path_.string(), errno);
}

HashedFile::~HashedFile() {
  if (fd_ >= 0) close(fd_);
}

void HashedFile::append(std::string_view text) {
  append(text.size(), [&](std::span<std::byte> piece) {
    std::memcpy(piece.data(), text.data(), piece.size());
    text.remove_prefix(piece.size());
  });
}

void HashedFile::append(uint64_t size, const NextBytes& next) {
  const std::span<std::byte> buffer = std::as_writable_bytes(std::span(buffer_));
  while (size > 0) {
    const auto piece = static_cast<size_t>(std::min<uint64_t>(size, buffer.size() - used_));
    next(buffer.subspan(used_, piece));
    used_ += piece;
    size -= piece;
    if (used_ == buffer.size()) write_out();
  }
}

void HashedFile::go_through_cache() {
  if (fcntl(fd_, F_SETFL, 0) != 0) throw base::system_error("set the flags of " + path_.string(), errno);
  past_cache_ = false;
}

void HashedFile::write_out() {
  std::span<const std::byte> left = std::as_bytes(std::span(buffer_)).first(used_);
  hash_.update(left.data(), left.size());
  if (past_cache_ && used_ % kBlock != 0) go_through_cache();  // the end of the file
  while (!left.empty()) {
    const ssize_t written = write(fd_, left.data(), left.size());
    if (written >= 0) {
      left = left.subspan(static_cast<size_t>(written));
      size_ += static_cast<uint64_t>(written);
    } else if (errno == EINVAL && past_cache_) {
      go_through_cache();  // larger blocks are asked for, or only a part of one was written
    } else if (errno != EINTR) {
      throw base::system_error("write " + path_.string(), errno);
    }
  }
  used_ = 0;
}

void HashedFile::finish() {
  write_out();
  if (fsync(fd_) != 0) throw base::system_error("fsync " + path_.string(), errno);
  if (close(std::exchange(fd_, -1)) != 0) throw base::system_error("close " + path_.string(), errno);
}

}  // namespace slipway::train
