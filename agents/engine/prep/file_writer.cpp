#include "agents/engine/prep/file_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::prep {

FileWriter::FileWriter(std::filesystem::path path) : path_(std::move(path)), temporary_(path_) {
  temporary_ += ".partial";  // a fixed name: a killed run's remains are overwritten by the next
  file_ = std::fopen(temporary_.c_str(), "wbe");
  if (file_ == nullptr) throw base::system_error("cannot write " + temporary_.string(), errno);
}

FileWriter::~FileWriter() {
  if (file_ == nullptr) return;
  std::fclose(file_);
  unlink(temporary_.c_str());
}

void FileWriter::write(std::string_view data) {
  if (std::fwrite(data.data(), 1, data.size(), file_) != data.size())
    throw base::system_error("cannot write " + temporary_.string(), errno);
  hash_.update(data);
  bytes_ += static_cast<int64_t>(data.size());
}

void FileWriter::commit() {
  if (std::fflush(file_) != 0 || fsync(fileno(file_)) != 0)
    throw base::system_error("cannot write " + temporary_.string(), errno);
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0)
    throw base::system_error("cannot make " + path_.string(), errno);
  std::fclose(std::exchange(file_, nullptr));
  base::sync_path(path_.parent_path());
}

ScratchFile::ScratchFile(const std::filesystem::path& folder) {
  std::string name = (folder / ".prep-XXXXXX").string();
  const int fd = mkostemp(name.data(), O_CLOEXEC);
  if (fd < 0) throw base::system_error("cannot make a temporary file in " + folder.string(), errno);
  unlink(name.c_str());
  file_ = fdopen(fd, "w+b");
  if (file_ == nullptr) {
    const int reason = errno;
    close(fd);
    throw base::system_error("cannot make a temporary file in " + folder.string(), reason);
  }
}

ScratchFile::~ScratchFile() { std::fclose(file_); }

int64_t ScratchFile::append(const void* data, size_t size) {
  if (std::fwrite(data, 1, size, file_) != size)
    throw base::system_error("cannot write a temporary file in the workdir", errno);
  return std::exchange(size_, size_ + static_cast<int64_t>(size));
}

void ScratchFile::read(int64_t offset, void* data, size_t size) {
  if (offset + static_cast<int64_t>(size) > flushed_) {
    if (std::fflush(file_) != 0) throw base::system_error("cannot write a temporary file in the workdir", errno);
    flushed_ = size_;
  }
  size_t done = 0;
  while (done < size) {
    const ssize_t count =
        pread(fileno(file_), static_cast<char*>(data) + done, size - done, offset + static_cast<int64_t>(done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) throw base::system_error("cannot read a temporary file in the workdir", count < 0 ? errno : EIO);
    done += static_cast<size_t>(count);
  }
}

}  // namespace slipway::prep
