#include "agents/node/transfer.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <tuple>
#include <utility>
#include <vector>

#include "agents/node/layout.h"
#include "agents/node/rpc_status.h"
#include "backend/base/error.h"
#include "backend/base/files.h"
#include "backend/base/sha256.h"

namespace slipway::node {
namespace {

namespace fs = std::filesystem;

absl::Status system_status(const std::string& what, int error_number) {
  const std::string message = what + ": " + std::strerror(error_number);
  if (error_number == ENOSPC || error_number == EDQUOT) return absl::ResourceExhaustedError(message);
  return absl::InternalError(message);
}

// Runs `call` again after transient failures, with growing pauses, until it ends otherwise or is cancelled.
template <typename Call>
auto with_patience(Cancellation& cancellation, const std::string& what, const Call& call) -> decltype(call()) {
  std::chrono::milliseconds pause{200};
  while (true) {
    auto result = call();
    absl::Status status;
    if constexpr (std::is_same_v<decltype(result), absl::Status>) {
      status = result;
    } else {
      status = result.status();
    }
    if (status.ok() || (!is_transient(status) && !cancellation.cancelled())) return result;
    if (cancellation.cancelled()) return absl::CancelledError(what + " was cancelled");
    spdlog::warn("transfer waits what={} retry_ms={} reason={}", what, pause.count(), std::string(status.message()));
    if (!cancellation.sleep_for(pause)) return absl::CancelledError(what + " was cancelled");
    pause = std::min(pause * 2, std::chrono::milliseconds{5000});
  }
}

bool is_hash(const std::string& text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

int64_t size_of(const fs::path& path) {
  std::error_code failure;
  const auto size = fs::file_size(path, failure);
  return failure ? -1 : static_cast<int64_t>(size);
}

// Links `from` as `to`, or copies it where linking is not possible (another file system).
absl::Status place(const fs::path& from, const fs::path& to) {
  std::error_code failure;
  fs::create_directories(to.parent_path(), failure);
  if (failure) return system_status("make " + to.parent_path().string(), failure.value());
  fs::remove(to, failure);
  if (link(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
  fs::copy_file(from, to, fs::copy_options::overwrite_existing, failure);
  if (failure) return system_status("copy " + from.string() + " to " + to.string(), failure.value());
  return absl::OkStatus();
}

}  // namespace

Transfer::Transfer(Artifacts& artifacts, fs::path cache, int64_t cache_bytes)
    : artifacts_(artifacts), cache_(std::move(cache)), cache_bytes_(cache_bytes) {
  fs::create_directories(cache_ / "partial");
}

absl::Status Transfer::fetch(const std::string& artifact_id, const fs::path& folder, Cancellation& cancellation) {
  const auto artifact = with_patience(cancellation, "looking up artifact " + artifact_id,
                                      [&] { return artifacts_.get(artifact_id, cancellation); });
  if (!artifact.ok()) return artifact.status();
  for (const auto& file : artifact->files()) {
    if (!is_safe_relative(file.path()) || !is_hash(file.sha256()) || file.size() < 0) {
      return absl::DataLossError("artifact " + artifact_id + " names a file that cannot be: '" + file.path() + "'");
    }
    const fs::path target = folder / file.path();
    const auto cached = fetch_file(artifact_id, file, cancellation);
    if (!cached.ok()) return cached.status();
    const auto placed = place(*cached, target);
    if (!placed.ok()) return placed;
  }
  trim();
  return absl::OkStatus();
}

absl::StatusOr<fs::path> Transfer::fetch_file(const std::string& artifact_id, const v1::ArtifactFile& file,
                                              Cancellation& cancellation) {
  const fs::path cached = cache_ / file.sha256();
  {
    std::unique_lock lock(mutex_);
    while (fetching_.count(file.sha256()) != 0) {
      if (cancellation.cancelled()) return absl::CancelledError("download of " + file.path() + " was cancelled");
      fetched_.wait_for(lock, std::chrono::milliseconds{100});
    }
    if (size_of(cached) == file.size()) {
      fs::last_write_time(cached, fs::file_time_type::clock::now());  // used last: trim() takes it last
      return cached;
    }
    fetching_.insert(file.sha256());
  }
  const fs::path partial = cache_ / "partial" / file.sha256();
  absl::Status status;
  for (int tries = 0; tries < 3; ++tries) {
    status = with_patience(cancellation, "download of " + file.path(),
                           [&] { return download_into(partial, artifact_id, file, cancellation); });
    if (!status.ok()) break;
    try {
      if (base::sha256_file(partial) == file.sha256()) {
        chmod(partial.c_str(), 0444);
        base::sync_path(partial);
        fs::rename(partial, cached);
        break;
      }
    } catch (const std::exception& error) {
      status = absl::InternalError(error.what());
      break;
    }
    std::error_code ignored;
    fs::remove(partial, ignored);
    status = absl::DataLossError("artifact " + artifact_id + ", file " + file.path() +
                                 ": what arrived does not have the hash " + file.sha256());
  }
  {
    const std::lock_guard lock(mutex_);
    fetching_.erase(file.sha256());
  }
  fetched_.notify_all();
  if (!status.ok()) return status;
  return cached;
}

absl::Status Transfer::download_into(const fs::path& partial, const std::string& artifact_id,
                                     const v1::ArtifactFile& file, Cancellation& cancellation) {
  const int fd = open(partial.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return system_status("open " + partial.string(), errno);
  int64_t offset = lseek(fd, 0, SEEK_END);
  if (offset > file.size()) {
    offset = 0;
    if (ftruncate(fd, 0) != 0 || lseek(fd, 0, SEEK_SET) != 0) offset = 0;
  }
  absl::Status status;
  if (offset < file.size()) {
    status = artifacts_.download(
        artifact_id, file.path(), offset,
        [&](std::string_view data) -> absl::Status {
          if (offset + static_cast<int64_t>(data.size()) > file.size()) {
            return absl::DataLossError("file " + file.path() + " is longer than its artifact says");
          }
          while (!data.empty()) {
            const ssize_t written = write(fd, data.data(), data.size());
            if (written < 0 && errno == EINTR) continue;
            if (written < 0) return system_status("write " + partial.string(), errno);
            data.remove_prefix(static_cast<size_t>(written));
            offset += written;
          }
          return absl::OkStatus();
        },
        cancellation);
  }
  close(fd);
  if (status.ok() && offset != file.size()) {
    return absl::UnavailableError("the stream of " + file.path() + " ended after " + std::to_string(offset) + " of " +
                                  std::to_string(file.size()) + " bytes");
  }
  return status;
}

absl::StatusOr<std::string> Transfer::publish(const fs::path& path, Cancellation& cancellation) {
  std::vector<std::pair<std::string, fs::path>> files;  // name in the artifact, file
  std::error_code failure;
  const auto kind = fs::symlink_status(path, failure);
  if (fs::is_regular_file(kind)) {
    files.emplace_back(path.filename().string(), path);
  } else if (fs::is_directory(kind)) {
    for (auto entry = fs::recursive_directory_iterator(path, failure);
         !failure && entry != fs::recursive_directory_iterator(); entry.increment(failure)) {
      const auto status = entry->symlink_status();
      if (fs::is_directory(status)) continue;
      if (!fs::is_regular_file(status)) {
        return absl::InvalidArgumentError(entry->path().string() + " is neither a file nor a folder");
      }
      files.emplace_back(entry->path().lexically_relative(path).generic_string(), entry->path());
    }
    if (failure) return system_status("list " + path.string(), failure.value());
  } else {
    return absl::NotFoundError(path.string() + " does not exist");
  }
  if (files.empty()) return absl::NotFoundError(path.string() + " holds no files");
  std::sort(files.begin(), files.end());

  v1::BeginUploadRequest request;
  try {
    for (const auto& [name, file] : files) {
      auto* entry = request.add_files();
      entry->set_path(name);
      entry->set_size(size_of(file));
      entry->set_sha256(base::sha256_file(file));
    }
  } catch (const base::Error& error) {
    return absl::InternalError(error.what());
  }
  const auto artifact =
      with_patience(cancellation, "upload of " + path.string(), [&]() -> absl::StatusOr<v1::Artifact> {
        auto upload = artifacts_.begin_upload(request, cancellation);
        if (absl::IsNotFound(upload.status()) && !request.upload_id().empty()) {
          request.clear_upload_id();  // the backend has forgotten it: from the start
          upload = artifacts_.begin_upload(request, cancellation);
        }
        if (!upload.ok()) return upload.status();
        request.set_upload_id(upload->id());
        if (upload->files_size() != request.files_size()) {
          return absl::InternalError("the backend answered another number of files than were to be uploaded");
        }
        for (int i = 0; i < upload->files_size(); ++i) {
          const int64_t received = upload->files(i).received();
          if (received >= request.files(i).size()) continue;
          const auto sent =
              artifacts_.upload_file(upload->id(), i, received, files[static_cast<size_t>(i)].second, cancellation);
          if (!sent.ok()) return sent;
        }
        return artifacts_.finish_upload(upload->id(), cancellation);
      });
  if (!artifact.ok()) return artifact.status();
  return artifact->id();
}

void Transfer::trim() {
  const std::lock_guard lock(mutex_);
  std::vector<std::tuple<fs::file_time_type, int64_t, fs::path>> unused;
  int64_t total = 0;
  std::error_code failure;
  for (const auto& entry : fs::directory_iterator(cache_, failure)) {
    std::error_code gone;
    if (!entry.is_regular_file(gone)) continue;
    const int64_t size = size_of(entry.path());
    if (size < 0) continue;
    total += size;
    if (entry.hard_link_count(gone) == 1) unused.emplace_back(entry.last_write_time(gone), size, entry.path());
  }
  std::sort(unused.begin(), unused.end());
  for (const auto& [time, size, path] : unused) {
    if (total <= cache_bytes_) break;
    if (fs::remove(path, failure)) total -= size;
  }
}

}  // namespace slipway::node
