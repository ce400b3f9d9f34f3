// Files that are whole or not there: written to a temporary name, fsynced, renamed, and the folder fsynced.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace slipway::base {

// The whole file. Throws base::Error (NOT_FOUND, IO), also when it is larger than max_bytes.
std::string read_file(const std::filesystem::path& path, size_t max_bytes = size_t{1} << 31U);

// Replaces `path` in one step; after a crash there is the old content or the new, never a mix. Throws base::Error
// (DISK_FULL, IO) and leaves nothing behind.
void write_file_atomically(const std::filesystem::path& path, std::string_view content, mode_t mode = 0644);

// The same for a content that does not lie in memory at once: write() as often as it takes, then commit(). Without
// commit() nothing changes and nothing is left behind. One thread.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path, mode_t mode = 0644);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  // Throws base::Error (DISK_FULL, IO).
  void write(std::string_view content);
  void write(std::span<const std::byte> content);
  void commit();

 private:
  std::filesystem::path path_;
  std::string temporary_;
  int fd_;
};

// fsync of a file or of a folder. Throws base::Error.
void sync_path(const std::filesystem::path& path);

// A folder of its own below `parent` (default: the system's temporary folder), removed with the object.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(const std::filesystem::path& parent = {});
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace slipway::base
