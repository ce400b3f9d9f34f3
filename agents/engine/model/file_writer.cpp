#include "agents/engine/model/file_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::model {

FileWriter::FileWriter(const std::filesystem::path& path) : path_(path), temporary_(path.string() + ".XXXXXX") {
  fd_ = mkostemp(temporary_.data(), O_CLOEXEC);
  if (fd_ < 0) throw base::system_error("create a file beside " + path.string(), errno);
}

FileWriter::~FileWriter() {
  if (fd_ >= 0) close(fd_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

void FileWriter::fail() const { throw base::system_error("write " + path_.string(), errno); }

void FileWriter::write(const void* data, size_t size) {
  const char* at = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t done = ::write(fd_, at, std::min(size, size_t{1} << 30U));
    if (done < 0 && errno != EINTR) fail();
    if (done <= 0) continue;
    at += done;
    size -= static_cast<size_t>(done);
    written_ += static_cast<uint64_t>(done);
  }
}

void FileWriter::pad(uint64_t alignment) {
  static constexpr char kZeros[4096] = {};
  uint64_t left = (alignment - written_ % alignment) % alignment;
  while (left > 0) {
    const uint64_t part = std::min<uint64_t>(left, sizeof kZeros);
    write(kZeros, part);
    left -= part;
  }
}

void FileWriter::commit() {
  if (fchmod(fd_, 0644) != 0 || fsync(fd_) != 0) fail();
  const int closed = close(fd_);
  fd_ = -1;
  if (closed != 0 || rename(temporary_.c_str(), path_.c_str()) != 0) fail();
  temporary_.clear();
  base::sync_path(path_.has_parent_path() ? path_.parent_path() : std::filesystem::path("."));
}

}  // namespace slipway::model
