// FileWriter and FileReader over descriptors. Used by ArtifactStore alone.
#pragma once

#include <filesystem>
#include <memory>

#include "backend/artifacts/artifact_store.h"

namespace slipway::artifacts {

// A descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  ~Descriptor();
  Descriptor(Descriptor&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Descriptor& operator=(Descriptor&&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

// base::Error of a failed call as a status: DISK_FULL is RESOURCE_EXHAUSTED, all else INTERNAL.
absl::Status disk_error(const std::string& what, int error_number);

// ABORTED when another writer has the file, or when it does not hold `offset` bytes.
absl::StatusOr<std::unique_ptr<FileWriter>> open_writer(const std::filesystem::path& path, const FileEntry& file,
                                                        int64_t offset, const DiskOperations& disk);
absl::StatusOr<std::unique_ptr<FileReader>> open_reader(const std::filesystem::path& path, const FileEntry& file,
                                                        int64_t offset);

}  // namespace slipway::artifacts
