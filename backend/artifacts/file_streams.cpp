#include "backend/artifacts/file_streams.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "backend/base/error.h"
#include "backend/base/sha256.h"
#include "backend/base/status.h"

namespace slipway::artifacts {
namespace {

class DescriptorWriter final : public FileWriter {
 public:
  DescriptorWriter(Descriptor descriptor, FileEntry file, int64_t offset, DiskOperations disk)
      : descriptor_(std::move(descriptor)), file_(std::move(file)), received_(offset), disk_(std::move(disk)) {}

  absl::Status write(std::string_view data) override {
    if (static_cast<int64_t>(data.size()) > file_.size - received_) {
      return base::error(absl::StatusCode::kOutOfRange,
                         "more bytes came for '" + file_.path + "' than the " + std::to_string(file_.size) +
                             " that the upload declared",
                         {"TOO_MANY_BYTES", "", "begin a new upload with the file's real size"});
    }
    while (!data.empty()) {
      const ssize_t written = disk_.write(descriptor_.get(), data.data(), data.size(), received_);
      if (written < 0) {
        if (errno == EINTR) continue;
        return disk_error("write '" + file_.path + "' of the upload", errno);
      }
      received_ += written;
      data.remove_prefix(static_cast<size_t>(written));
    }
    return absl::OkStatus();
  }

  int64_t received() const override { return received_; }

 private:
  Descriptor descriptor_;
  FileEntry file_;
  int64_t received_;
  DiskOperations disk_;
};

class DescriptorReader final : public FileReader {
 public:
  DescriptorReader(Descriptor descriptor, FileEntry file, int64_t offset)
      : descriptor_(std::move(descriptor)), file_(std::move(file)), position_(offset), checks_(offset == 0) {}

  absl::StatusOr<std::string> read(size_t most) override {
    std::string data(std::min(most, static_cast<size_t>(file_.size - position_)), '\0');
    if (data.empty()) return data;
    ssize_t got = 0;
    do {
      got = pread(descriptor_.get(), data.data(), data.size(), position_);
    } while (got < 0 && errno == EINTR);
    if (got < 0) return disk_error("read '" + file_.path + "'", errno);
    if (got == 0) return damaged();
    data.resize(static_cast<size_t>(got));
    position_ += got;
    if (checks_) {
      hash_.update(data);
      // Before the last bytes leave, so that a reader never holds a whole wrong file.
      if (position_ == file_.size && hash_.hex() != file_.sha256) return damaged();
    }
    return data;
  }

  const FileEntry& file() const override { return file_; }

 private:
  absl::Status damaged() const {
    return base::error(absl::StatusCode::kDataLoss, "the stored content of '" + file_.path + "' is damaged",
                       {"ARTIFACT_DAMAGED", "", "check the disk of the data folder, and upload the artifact again"});
  }

  Descriptor descriptor_;
  FileEntry file_;
  int64_t position_;
  bool checks_;
  base::Sha256 hash_;
};

}  // namespace

Descriptor::~Descriptor() {
  if (fd_ >= 0) close(fd_);
}

absl::Status disk_error(const std::string& what, int error_number) {
  const base::Error error = base::system_error(what, error_number);
  const bool full = error.code() == base::kDiskFull;
  return base::error(full ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kInternal, error.what(),
                     {error.code(), "", error.advice()});
}

absl::StatusOr<std::unique_ptr<FileWriter>> open_writer(const std::filesystem::path& path, const FileEntry& file,
                                                        int64_t offset, const DiskOperations& disk) {
  Descriptor descriptor(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (descriptor.get() < 0) return disk_error("open '" + file.path + "' of the upload", errno);
  if (flock(descriptor.get(), LOCK_EX | LOCK_NB) != 0) {
    return base::error(absl::StatusCode::kAborted, "'" + file.path + "' is being uploaded by another call",
                       {"UPLOAD_BUSY", "", "wait until that call has ended, then ask how far it came"});
  }
  struct stat facts {};
  if (fstat(descriptor.get(), &facts) != 0) return disk_error("read '" + file.path + "' of the upload", errno);
  if (facts.st_size != offset) {
    return base::error(
        absl::StatusCode::kAborted,
        "'" + file.path + "' goes on at byte " + std::to_string(facts.st_size) + ", not " + std::to_string(offset),
        {"WRONG_OFFSET", "offset", "ask how far the upload is, and go on from there"});
  }
  return std::make_unique<DescriptorWriter>(std::move(descriptor), file, offset, disk);
}

absl::StatusOr<std::unique_ptr<FileReader>> open_reader(const std::filesystem::path& path, const FileEntry& file,
                                                        int64_t offset) {
  if (offset < 0 || offset > file.size) {
    return base::error(absl::StatusCode::kOutOfRange, "the offset lies outside '" + file.path + "'",
                       {"OUT_OF_RANGE", "offset", "it has " + std::to_string(file.size) + " bytes"});
  }
  Descriptor descriptor(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat facts {};
  if (descriptor.get() < 0 || fstat(descriptor.get(), &facts) != 0 || facts.st_size != file.size) {
    return base::error(absl::StatusCode::kDataLoss,
                       "the stored content of '" + file.path + "' is missing or has another size",
                       {"ARTIFACT_DAMAGED", "", "check the disk of the data folder, and upload the artifact again"});
  }
  return std::make_unique<DescriptorReader>(std::move(descriptor), file, offset);
}

}  // namespace slipway::artifacts
