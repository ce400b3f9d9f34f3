#include "backend/artifacts/artifact_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/ascii.h"
#include "backend/artifacts/file_streams.h"
#include "backend/base/error.h"
#include "backend/base/files.h"
#include "backend/base/ids.h"
#include "backend/base/sha256.h"
#include "backend/base/status.h"

namespace slipway::artifacts {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kAbandonedAfterMs = int64_t{24} * 3600 * 1000;
constexpr int64_t kLargestFile = int64_t{1} << 43;  // 8 TiB
constexpr int64_t kSpareBytes = int64_t{64} << 20;
constexpr size_t kMaxUploadRecordBytes = size_t{16} << 20;

// Exceptions of the file system and of base end here.
template <typename Function>
auto guarded(const std::string& what, Function function) -> std::invoke_result_t<Function> {
  try {
    return function();
  } catch (const base::Error& error) {
    const bool full = error.code() == base::kDiskFull;
    return base::error(full ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kInternal, error.what(),
                       {error.code(), "", error.advice()});
  } catch (const fs::filesystem_error& error) {
    return disk_error(what, error.code().value());
  }
}

bool fit_for_name(const std::string& id, const std::string& prefix) {
  return id.size() == prefix.size() + 26 && id.compare(0, prefix.size(), prefix) == 0 &&
         std::all_of(id.begin() + static_cast<long>(prefix.size()), id.end(),
                     [](unsigned char c) { return absl::ascii_isdigit(c) || absl::ascii_islower(c); });
}

int64_t modified_ms(const fs::path& path) {
  struct stat facts {};
  if (stat(path.c_str(), &facts) != 0) return 0;
  return facts.st_mtim.tv_sec * 1000 + facts.st_mtim.tv_nsec / 1'000'000;
}

std::string upload_record(const std::vector<FileEntry>& files) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const FileEntry& file : files)
    list.push_back({{"path", file.path}, {"size", file.size}, {"sha256", file.sha256}});
  return nlohmann::ordered_json{{"files", list}}.dump() + "\n";
}

absl::Status check_files(const std::vector<FileEntry>& files) {
  if (absl::Status status = check_paths("files", files); !status.ok()) return status;
  int64_t sum = 0;
  for (size_t i = 0; i < files.size(); ++i) {
    const std::string where = "files[" + std::to_string(i) + "]";
    if (files[i].size < 0 || files[i].size > kLargestFile) {
      return base::invalid_argument(where + ".size", "the size of '" + files[i].path + "' is out of bounds",
                                    "give the file's size in bytes");
    }
    if (!files[i].sha256.empty() && !is_sha256(files[i].sha256)) {
      return base::invalid_argument(where + ".sha256", "the hash of '" + files[i].path + "' is no SHA-256",
                                    "give 64 lower-case hex digits, or leave it empty");
    }
    if (sum > std::numeric_limits<int64_t>::max() - files[i].size) {
      return base::invalid_argument("files", "the sizes are out of bounds", "give the files' sizes in bytes");
    }
    sum += files[i].size;
  }
  return absl::OkStatus();
}

}  // namespace

DiskOperations real_disk() {
  return {[](int fd, const void* data, size_t size, off_t offset) { return pwrite(fd, data, size, offset); },
          [](const fs::path& path) {
            struct statvfs facts {};
            if (statvfs(path.c_str(), &facts) != 0) return std::numeric_limits<int64_t>::max();
            return static_cast<int64_t>(facts.f_bavail) * static_cast<int64_t>(facts.f_frsize);
          }};
}

ArtifactStore::ArtifactStore(fs::path folder, const base::Clock& clock, DiskOperations disk)
    : folder_(std::move(folder)), clock_(clock), disk_(std::move(disk)) {
  for (const char* name : {"blobs", "manifests", "uploads", "views"}) {
    std::error_code error;
    fs::create_directories(folder_ / name, error);
    if (error) throw base::system_error("make folder " + (folder_ / name).string(), error.value());
  }
  collect_abandoned_uploads();
}

void ArtifactStore::collect_abandoned_uploads() {
  std::error_code ignored;
  const int64_t before_ms = clock_.now_ms() - kAbandonedAfterMs;
  for (const auto& upload : fs::directory_iterator(folder_ / "uploads", ignored)) {
    int64_t latest_ms = modified_ms(upload.path());
    for (const auto& file : fs::directory_iterator(upload.path(), ignored)) {
      latest_ms = std::max(latest_ms, modified_ms(file.path()));
    }
    if (latest_ms < before_ms) fs::remove_all(upload.path(), ignored);
  }
  // Views that were being made when slipwayd was killed.
  for (const auto& view : fs::directory_iterator(folder_ / "views", ignored)) {
    if (!is_sha256(view.path().filename().string())) fs::remove_all(view.path(), ignored);
  }
}

fs::path ArtifactStore::blob_path(const std::string& sha256) const {
  return folder_ / "blobs" / sha256.substr(0, 2) / sha256;
}

fs::path ArtifactStore::manifest_path(const std::string& artifact_id) const {
  return folder_ / "manifests" / artifact_id;
}

fs::path ArtifactStore::upload_folder(const std::string& upload_id) const { return folder_ / "uploads" / upload_id; }

bool ArtifactStore::has_blob(const FileEntry& file) const {
  if (file.sha256.empty()) return false;
  struct stat facts {};
  return stat(blob_path(file.sha256).c_str(), &facts) == 0 && facts.st_size == file.size;
}

absl::StatusOr<UploadState> ArtifactStore::begin_upload(const std::string& upload_id,
                                                        const std::vector<FileEntry>& files) {
  if (!upload_id.empty()) return get_upload(upload_id);
  if (absl::Status status = check_files(files); !status.ok()) return status;
  int64_t missing = 0;
  for (const FileEntry& file : files) {
    if (!has_blob(file)) missing += file.size;
  }
  if (const int64_t free = disk_.free_bytes(folder_); missing > 0 && missing > free - kSpareBytes) {
    return base::error(absl::StatusCode::kResourceExhausted,
                       "the upload needs " + std::to_string(missing >> 20) + " MiB, and the disk of " +
                           folder_.string() + " has " + std::to_string(free >> 20) + " MiB left",
                       {base::kDiskFull, "", "free some space on that disk, or use another data folder"});
  }
  return guarded("begin an upload", [&]() -> absl::StatusOr<UploadState> {
    const std::string id = base::new_id("upload", clock_.now_ms());
    fs::create_directory(upload_folder(id));
    base::write_file_atomically(upload_folder(id) / "upload.json", upload_record(files));
    return state_of(id, files);
  });
}

absl::StatusOr<std::vector<FileEntry>> ArtifactStore::load_upload(const std::string& upload_id) const {
  if (upload_id.empty())
    return base::invalid_argument("upload_id", "the upload's id is missing", "begin an upload first");
  if (!fit_for_name(upload_id, "upload-")) return base::not_found("upload", upload_id.substr(0, 100));
  std::string text;
  try {
    text = base::read_file(upload_folder(upload_id) / "upload.json", kMaxUploadRecordBytes);
  } catch (const base::Error&) {
    return base::not_found("upload", upload_id);
  }
  const auto record = nlohmann::json::parse(text, nullptr, false);
  std::vector<FileEntry> files;
  if (!record.is_object() || !record.contains("files")) return base::not_found("upload", upload_id);
  for (const auto& file : record["files"]) {
    files.push_back({file.value("path", ""), file.value("size", int64_t{0}), file.value("sha256", "")});
  }
  return files;
}

UploadState ArtifactStore::state_of(const std::string& upload_id, std::vector<FileEntry> files) const {
  UploadState state{upload_id, std::move(files), {}};
  const bool finished = fs::exists(upload_folder(upload_id) / "finished");
  for (size_t i = 0; i < state.files.size(); ++i) {
    struct stat facts {};
    int64_t received = 0;
    if (finished || has_blob(state.files[i])) {
      received = state.files[i].size;
    } else if (stat((upload_folder(upload_id) / std::to_string(i)).c_str(), &facts) == 0) {
      received = facts.st_size;
    }
    state.received.push_back(received);
  }
  return state;
}

absl::StatusOr<UploadState> ArtifactStore::get_upload(const std::string& upload_id) {
  auto files = load_upload(upload_id);
  if (!files.ok()) return files.status();
  return state_of(upload_id, *std::move(files));
}

absl::StatusOr<std::unique_ptr<FileWriter>> ArtifactStore::write_file(const std::string& upload_id, int64_t file_index,
                                                                      int64_t offset) {
  const auto files = load_upload(upload_id);
  if (!files.ok()) return files.status();
  if (file_index < 0 || file_index >= static_cast<int64_t>(files->size())) {
    return base::invalid_argument("file_index", "the upload has no file " + std::to_string(file_index),
                                  "it has " + std::to_string(files->size()) + " files, counted from 0");
  }
  const FileEntry& file = (*files)[static_cast<size_t>(file_index)];
  if (has_blob(file) || fs::exists(upload_folder(upload_id) / "finished")) {
    return base::error(absl::StatusCode::kAborted, "'" + file.path + "' is here already",
                       {"WRONG_OFFSET", "offset", "ask how far the upload is, and send what is missing"});
  }
  return open_writer(upload_folder(upload_id) / std::to_string(file_index), file, offset, disk_);
}

absl::StatusOr<Artifact> ArtifactStore::finish_upload(const std::string& upload_id) {
  auto loaded = load_upload(upload_id);
  if (!loaded.ok()) return loaded.status();
  std::vector<FileEntry>& files = *loaded;
  const fs::path uploads = upload_folder(upload_id);
  return guarded("finish upload " + upload_id, [&]() -> absl::StatusOr<Artifact> {
    const Descriptor lock(open((uploads / "upload.json").c_str(), O_RDONLY | O_CLOEXEC));
    if (lock.get() < 0) return base::not_found("upload", upload_id);
    if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
      return base::error(absl::StatusCode::kAborted, "the upload is being finished by another call",
                         {"UPLOAD_BUSY", "", "wait for it, then ask again"});
    }
    if (fs::exists(uploads / "finished")) {
      return get(std::string(absl::StripAsciiWhitespace(base::read_file(uploads / "finished", 1000))));
    }
    for (size_t i = 0; i < files.size(); ++i) {
      if (has_blob(files[i])) continue;
      const fs::path path = uploads / std::to_string(i);
      const Descriptor content(open(path.c_str(), O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
      if (content.get() < 0) return disk_error("open '" + files[i].path + "' of the upload", errno);
      if (flock(content.get(), LOCK_EX | LOCK_NB) != 0) {
        return base::error(absl::StatusCode::kAborted, "'" + files[i].path + "' is still being uploaded",
                           {"UPLOAD_BUSY", "", "finish when all its bytes have been sent"});
      }
      struct stat facts {};
      if (fstat(content.get(), &facts) != 0) return disk_error("read '" + files[i].path + "' of the upload", errno);
      if (facts.st_size != files[i].size) {
        return base::failed_precondition("UPLOAD_INCOMPLETE",
                                         "'" + files[i].path + "' has " + std::to_string(facts.st_size) + " of " +
                                             std::to_string(files[i].size) + " bytes",
                                         "send the rest, then finish again");
      }
      const std::string sha256 = base::sha256_file(path);
      if (!files[i].sha256.empty() && files[i].sha256 != sha256) {
        fs::remove(path);
        return base::error(absl::StatusCode::kDataLoss,
                           "what came for '" + files[i].path + "' has another hash than the upload declared",
                           {"HASH_MISMATCH", "files[" + std::to_string(i) + "].sha256",
                            "send that file again from its first byte; if the file has changed, begin a new upload"});
      }
      files[i].sha256 = sha256;
    }
    // A crash from here on finds the hashes, so that a file that was moved already is known to be here.
    base::write_file_atomically(uploads / "upload.json", upload_record(files));
    if (absl::Status status = take_in(uploads, files); !status.ok()) return status;
    Manifest manifest{files};
    std::sort(manifest.files.begin(), manifest.files.end(),
              [](const FileEntry& a, const FileEntry& b) { return a.path < b.path; });
    const std::string id = artifact_id(manifest);
    base::write_file_atomically(uploads / "finished", id + "\n");
    for (size_t i = 0; i < files.size(); ++i) fs::remove(uploads / std::to_string(i));
    return load(id);
  });
}

absl::Status ArtifactStore::take_in(const fs::path& uploads, const std::vector<FileEntry>& files) {
  const std::lock_guard lock(commit_mutex_);
  std::set<fs::path> changed_folders;
  for (size_t i = 0; i < files.size(); ++i) {
    if (has_blob(files[i])) continue;
    const fs::path from = uploads / std::to_string(i);
    const fs::path to = blob_path(files[i].sha256);
    if (!fs::exists(from)) {
      return base::error(absl::StatusCode::kAborted, "the content of '" + files[i].path + "' was removed meanwhile",
                         {"CONTENT_GONE", "", "send that file, then finish again"});
    }
    if (chmod(from.c_str(), 0444) != 0) return disk_error("chmod " + from.string(), errno);
    base::sync_path(from);
    if (fs::create_directory(to.parent_path())) changed_folders.insert(folder_ / "blobs");
    fs::rename(from, to);
    changed_folders.insert(to.parent_path());
  }
  for (const fs::path& changed : changed_folders) base::sync_path(changed);
  const Manifest manifest{files};
  const fs::path path = manifest_path(artifact_id(manifest));
  if (!fs::exists(path)) base::write_file_atomically(path, canonical_text(manifest), 0444);
  return absl::OkStatus();
}

absl::Status ArtifactStore::cancel_upload(const std::string& upload_id) {
  const auto files = load_upload(upload_id);
  if (!files.ok()) return files.status();
  return guarded("cancel upload " + upload_id, [&]() -> absl::Status {
    fs::remove_all(upload_folder(upload_id));
    return absl::OkStatus();
  });
}

absl::StatusOr<Artifact> ArtifactStore::load(const std::string& artifact_id) const {
  std::string text;
  try {
    text = base::read_file(manifest_path(artifact_id), size_t{16} << 20U);
  } catch (const base::Error&) {
    return base::not_found("artifact", artifact_id);
  }
  auto manifest = parse_manifest(text);
  if (!manifest.ok()) return manifest.status();
  if (base::sha256_hex(text) != artifact_id) {
    return base::error(absl::StatusCode::kDataLoss, "the manifest of artifact " + artifact_id + " is damaged",
                       {"ARTIFACT_DAMAGED", "", "upload the artifact again"});
  }
  return Artifact{artifact_id, *std::move(manifest), modified_ms(manifest_path(artifact_id))};
}

absl::StatusOr<Artifact> ArtifactStore::get(const std::string& artifact_id) {
  if (artifact_id.empty())
    return base::invalid_argument("id", "the artifact's id is missing", "give its 64 hex digits");
  if (!is_sha256(artifact_id)) return base::not_found("artifact", artifact_id.substr(0, 100));
  return load(artifact_id);
}

absl::StatusOr<std::unique_ptr<FileReader>> ArtifactStore::read_file(const std::string& artifact_id,
                                                                     const std::string& path, int64_t offset) {
  const auto artifact = get(artifact_id);
  if (!artifact.ok()) return artifact.status();
  const FileEntry* file = artifact->manifest.find(path);
  if (file == nullptr) return base::not_found("file of the artifact", path.substr(0, kMaxPathBytes));
  return open_reader(blob_path(file->sha256), *file, offset);
}

absl::StatusOr<fs::path> ArtifactStore::file_path(const std::string& artifact_id, const std::string& path) {
  const auto artifact = get(artifact_id);
  if (!artifact.ok()) return artifact.status();
  const FileEntry* file = artifact->manifest.find(path);
  if (file == nullptr) return base::not_found("file of the artifact", path.substr(0, kMaxPathBytes));
  return blob_path(file->sha256);
}

absl::StatusOr<fs::path> ArtifactStore::view(const std::string& artifact_id) {
  const auto artifact = get(artifact_id);
  if (!artifact.ok()) return artifact.status();
  return guarded("make the folder of artifact " + artifact_id, [&]() -> absl::StatusOr<fs::path> {
    const std::lock_guard lock(commit_mutex_);
    const fs::path view = folder_ / "views" / artifact_id;
    if (fs::exists(view)) return view;
    const fs::path making = folder_ / "views" / base::new_id("making", clock_.now_ms());
    for (const FileEntry& file : artifact->manifest.files) {
      const fs::path name = making / file.path;
      fs::create_directories(name.parent_path());
      std::error_code no_links;
      fs::create_hard_link(blob_path(file.sha256), name, no_links);
      // Some file systems know no hard links.
      if (no_links) fs::create_symlink(fs::absolute(blob_path(file.sha256)), name);
    }
    fs::rename(making, view);
    return view;
  });
}

std::vector<std::string> ArtifactStore::list_older_than(int64_t milliseconds) {
  std::vector<std::string> ids;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder_ / "manifests", ignored)) {
    std::string id = entry.path().filename().string();
    if (is_sha256(id) && modified_ms(entry.path()) < clock_.now_ms() - milliseconds) ids.push_back(std::move(id));
  }
  return ids;
}

absl::Status ArtifactStore::remove(const std::string& artifact_id) {
  const auto artifact = get(artifact_id);
  if (!artifact.ok()) return artifact.status();
  return guarded("remove artifact " + artifact_id, [&]() -> absl::Status {
    const std::lock_guard lock(commit_mutex_);
    fs::remove(manifest_path(artifact_id));
    fs::remove_all(folder_ / "views" / artifact_id);
    std::set<std::string> used;
    for (const auto& entry : fs::directory_iterator(folder_ / "manifests")) {
      const std::string id = entry.path().filename().string();
      if (!is_sha256(id)) continue;
      const auto other = load(id);
      // What cannot be read may use any of them.
      if (!other.ok()) return absl::OkStatus();
      for (const FileEntry& file : other->manifest.files) used.insert(file.sha256);
    }
    for (const FileEntry& file : artifact->manifest.files) {
      if (!used.contains(file.sha256)) fs::remove(blob_path(file.sha256));
    }
    return absl::OkStatus();
  });
}

}  // namespace slipway::artifacts
