#include "backend/base/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "backend/base/error.h"

namespace slipway::base {
namespace {

class Descriptor {
 public:
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

void write_all(int fd, std::string_view content, const std::string& name) {
  while (!content.empty()) {
    const ssize_t written = write(fd, content.data(), content.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      throw system_error("write " + name, errno);
    }
    content.remove_prefix(static_cast<size_t>(written));
  }
}

}  // namespace

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
  std::string temporary = path.string() + ".XXXXXX";
  const Descriptor file(mkostemp(temporary.data(), O_CLOEXEC));
  if (file.get() < 0) throw system_error("create " + temporary, errno);
  try {
    if (fchmod(file.get(), mode) != 0) throw system_error("chmod " + temporary, errno);
    write_all(file.get(), content, temporary);
    if (fsync(file.get()) != 0) throw system_error("fsync " + temporary, errno);
    if (rename(temporary.c_str(), path.c_str()) != 0) throw system_error("rename to " + path.string(), errno);
  } catch (...) {
    unlink(temporary.c_str());
    throw;
  }
  sync_path(path.has_parent_path() ? path.parent_path() : std::filesystem::path("."));
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
