#include "backend/base/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <utility>

#include "backend/base/descriptor.h"
#include "backend/base/error.h"

namespace slipway::base {
std::string read_file(const std::filesystem::path& path, size_t max_bytes) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) throw system_error("open " + path.string(), errno);
  std::string content;
  char buffer[1 << 16];
  while (true) {
    const ssize_t got = read(file.get(), buffer, sizeof buffer);
    if (got < 0) {
      if (errno == EINTR) continue;
      throw system_error("read " + path.string(), errno);
    }
    if (got == 0) return content;
    content.append(buffer, static_cast<size_t>(got));
    if (content.size() > max_bytes) {
      throw Error(kIo, path.string() + " is larger than " + std::to_string(max_bytes) + " bytes", "use a smaller file");
    }
  }
}

void write_file_atomically(const std::filesystem::path& path, std::string_view content, mode_t mode) {
  AtomicFile file(path, mode);
  file.write(content);
  file.commit();
}

AtomicFile::AtomicFile(std::filesystem::path path, mode_t mode)
    : path_(std::move(path)), temporary_(path_.string() + ".XXXXXX"), fd_(mkostemp(temporary_.data(), O_CLOEXEC)) {
  if (fd_ < 0) throw system_error("create " + temporary_, errno);
  if (fchmod(fd_, mode) != 0) {
    const int error = errno;
    close(fd_);
    unlink(temporary_.c_str());
    throw system_error("chmod " + temporary_, error);
  }
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  close(fd_);
  unlink(temporary_.c_str());
}

void AtomicFile::write(std::string_view content) {
  while (!content.empty()) {
    const ssize_t written = ::write(fd_, content.data(), std::min(content.size(), size_t{1} << 30U));
    if (written < 0) {
      if (errno == EINTR) continue;
      throw system_error("write " + temporary_, errno);
    }
    content.remove_prefix(static_cast<size_t>(written));
  }
}

void AtomicFile::write(std::span<const std::byte> content) {
  write(std::string_view(reinterpret_cast<const char*>(content.data()), content.size()));
}

void AtomicFile::commit() {
  if (fsync(fd_) != 0) throw system_error("fsync " + temporary_, errno);
  if (rename(temporary_.c_str(), path_.c_str()) != 0) throw system_error("rename to " + path_.string(), errno);
  close(fd_);
  fd_ = -1;
  sync_path(path_.has_parent_path() ? path_.parent_path() : std::filesystem::path("."));
}

void sync_path(const std::filesystem::path& path) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) throw system_error("open " + path.string(), errno);
  if (fsync(file.get()) != 0) throw system_error("fsync " + path.string(), errno);
}

TemporaryFolder::TemporaryFolder(const std::filesystem::path& parent) {
  const std::filesystem::path base = parent.empty() ? std::filesystem::temp_directory_path() : parent;
  std::string pattern = (base / "slipway-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) throw system_error("mkdtemp " + pattern, errno);
  path_ = pattern;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace slipway::base
