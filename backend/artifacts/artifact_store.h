// The content-addressed store in a local folder: blobs by SHA-256, manifests by artifact id, uploads that can be
// resumed, and folder views with the files' own names. Used by service/, rpc/ and web/. Any thread; calls block on the
// disk.
//   blobs/ab/ab12…            content, read-only
//   manifests/<artifact id>   canonical text; an artifact exists when this does
//   uploads/<upload id>/      upload.json, one file per missing content, and `finished` with the artifact's id
//   views/<artifact id>/…     hard links to blobs under the artifact's paths, made on demand
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backend/artifacts/manifest.h"
#include "backend/base/clock.h"

namespace slipway::artifacts {

struct Artifact {
  std::string id;
  Manifest manifest;
  int64_t created_at_ms = 0;
};

struct UploadState {
  std::string id;
  std::vector<FileEntry> files;   // as the upload began, in its order; sha256 may be empty
  std::vector<int64_t> received;  // bytes that are here, per file
};

// How the store reaches the disk; tests make it fail.
struct DiskOperations {
  std::function<ssize_t(int fd, const void* data, size_t size, off_t offset)> write;
  std::function<int64_t(const std::filesystem::path&)> free_bytes;
};
DiskOperations real_disk();

// Bytes on their way into one file of an upload. What was written stays when this goes away.
class FileWriter {
 public:
  virtual ~FileWriter() = default;
  // Appends. OUT_OF_RANGE beyond the file's declared size; RESOURCE_EXHAUSTED with DISK_FULL.
  virtual absl::Status write(std::string_view data) = 0;
  virtual int64_t received() const = 0;
};

// One file of an artifact, read from `offset` on.
class FileReader {
 public:
  virtual ~FileReader() = default;
  // The next bytes, at most `most`; empty at the end. DATA_LOSS when a whole reading gave other content than the hash
  // says.
  virtual absl::StatusOr<std::string> read(size_t most) = 0;
  virtual const FileEntry& file() const = 0;
};

class ArtifactStore {
 public:
  // Makes the folders, and collects uploads that nobody has touched for a day. Throws base::Error.
  ArtifactStore(std::filesystem::path folder, const base::Clock& clock, DiskOperations disk = real_disk());

  // Opens an upload of `files` (sha256 may be empty where not known), or says how far `upload_id` is when that is
  // given.
  absl::StatusOr<UploadState> begin_upload(const std::string& upload_id, const std::vector<FileEntry>& files);
  absl::StatusOr<UploadState> get_upload(const std::string& upload_id);
  // `offset` must be what was received so far: ABORTED otherwise, and while another writer has the file.
  absl::StatusOr<std::unique_ptr<FileWriter>> write_file(const std::string& upload_id, int64_t file_index,
                                                         int64_t offset);
  // Checks sizes and hashes, moves what is new among the blobs, and writes the manifest last. Idempotent. A file with
  // another hash than declared is thrown away (DATA_LOSS), so that it can be sent again.
  absl::StatusOr<Artifact> finish_upload(const std::string& upload_id);
  absl::Status cancel_upload(const std::string& upload_id);

  absl::StatusOr<Artifact> get(const std::string& artifact_id);
  absl::StatusOr<std::unique_ptr<FileReader>> read_file(const std::string& artifact_id, const std::string& path,
                                                        int64_t offset);
  // The blob of one file, for reading in place.
  absl::StatusOr<std::filesystem::path> file_path(const std::string& artifact_id, const std::string& path);
  // A folder that holds the artifact's files under their own names, for readers of model folders. Stays until the
  // artifact is removed; must not be written to.
  absl::StatusOr<std::filesystem::path> view(const std::string& artifact_id);

  // Ids of the artifacts that were made longer ago.
  std::vector<std::string> list_older_than(int64_t milliseconds);
  // Forgets the artifact, and the blobs that no other one has.
  absl::Status remove(const std::string& artifact_id);

 private:
  std::filesystem::path blob_path(const std::string& sha256) const;
  bool has_blob(const FileEntry& file) const;
  std::filesystem::path upload_folder(const std::string& upload_id) const;
  std::filesystem::path manifest_path(const std::string& artifact_id) const;
  absl::StatusOr<std::vector<FileEntry>> load_upload(const std::string& upload_id) const;
  UploadState state_of(const std::string& upload_id, std::vector<FileEntry> files) const;
  absl::Status take_in(const std::filesystem::path& uploads, const std::vector<FileEntry>& files);
  absl::StatusOr<Artifact> load(const std::string& artifact_id) const;
  void collect_abandoned_uploads();

  std::filesystem::path folder_;
  const base::Clock& clock_;
  DiskOperations disk_;
  // Held while blobs, manifests and views are added or removed, so that none goes while another artifact takes it up.
  std::mutex commit_mutex_;
};

}  // namespace slipway::artifacts
