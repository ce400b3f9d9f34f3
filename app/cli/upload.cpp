#include "app/cli/upload.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <thread>
#include <utility>
#include <vector>

#include "app/cli/output.h"
#include "backend/base/error.h"
#include "backend/base/files.h"
#include "backend/base/sha256.h"
#include "slipway/v1/artifact.grpc.pb.h"

namespace slipway::cli {
namespace {

namespace fs = std::filesystem;
using Stub = v1::ArtifactService::Stub;
constexpr size_t kPieceBytes = 512 * 1024;
constexpr int kTries = 8;

// One line on stderr that is written over: what, share, rate, time left.
class ProgressLine {
 public:
  ProgressLine(std::string what, int64_t total, bool quiet)
      : what_(std::move(what)), total_(total), shown_(!quiet && is_terminal(STDERR_FILENO)) {}
  ~ProgressLine() {
    if (drawn_) std::fprintf(stderr, "\r\033[K");
  }
  // `fresh`: bytes that were moved now, not found there already.
  void advance(int64_t bytes, bool fresh) {
    done_ += bytes;
    if (fresh) moved_ += bytes;
    const auto now = std::chrono::steady_clock::now();
    if (!shown_ || now - last_ < std::chrono::milliseconds(100)) return;
    last_ = now;
    drawn_ = true;
    const double seconds = std::chrono::duration<double>(now - start_).count();
    const double rate = seconds > 0 ? static_cast<double>(moved_) / seconds : 0;
    const double share = total_ > 0 ? static_cast<double>(done_) / static_cast<double>(total_) : 1;
    std::string line = what_ + " " + bar(share, 24) + " " + format_bytes(done_) + " of " + format_bytes(total_);
    if (rate > 0) {
      line += ", " + format_bytes(static_cast<int64_t>(rate)) + "/s, " +
              format_duration(static_cast<double>(total_ - done_) / rate) + " left";
    }
    std::fprintf(stderr, "\r\033[K%s", line.c_str());
  }

 private:
  const std::string what_;
  const int64_t total_;
  const bool shown_;
  bool drawn_ = false;
  int64_t done_ = 0, moved_ = 0;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point last_{};
};

std::vector<std::pair<std::string, fs::path>> list_files(const fs::path& path) {
  std::vector<std::pair<std::string, fs::path>> files;
  std::error_code failure;
  const auto kind = fs::status(path, failure);
  if (fs::is_regular_file(kind)) {
    files.emplace_back(path.filename().string(), path);
  } else if (fs::is_directory(kind)) {
    for (auto entry = fs::recursive_directory_iterator(path, failure);
         !failure && entry != fs::recursive_directory_iterator(); entry.increment(failure)) {
      const bool hidden = entry->path().filename().string().front() == '.';
      if (hidden && entry->is_directory()) entry.disable_recursion_pending();
      if (hidden || !entry->is_regular_file()) continue;
      files.emplace_back(entry->path().lexically_relative(path).generic_string(), entry->path());
    }
    if (failure) throw Failure(Exit::kFailed, "list " + path.string() + ": " + failure.message());
  } else {
    throw Failure(Exit::kUsage, path.string() + " does not exist", "give a file, or a folder with the model's files");
  }
  if (files.empty())
    throw Failure(Exit::kUsage, path.string() + " holds no files", "give the folder with the model's files");
  std::sort(files.begin(), files.end());
  return files;
}

std::string hash_file(const fs::path& path, ProgressLine& progress) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Failure(Exit::kUsage, path.string() + " cannot be read", "check its permissions");
  base::Sha256 hash;
  std::vector<char> piece(kPieceBytes);
  while (file) {
    file.read(piece.data(), static_cast<std::streamsize>(piece.size()));
    const auto got = file.gcount();
    hash.update(piece.data(), static_cast<size_t>(got));
    progress.advance(got, true);
  }
  if (file.bad()) throw Failure(Exit::kFailed, path.string() + " cannot be read to its end");
  return hash.hex();
}

// Where the id of a broken upload waits for the next try of the same files to the same backend.
fs::path resume_file(const Client& client, const v1::BeginUploadRequest& request) {
  const char* home = std::getenv("HOME");
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const fs::path folder =
      (cache != nullptr && *cache != '\0' ? fs::path(cache) : fs::path(home == nullptr ? "/tmp" : home) / ".cache") /
      "slipway/uploads";
  std::string content = client.config().backend;
  for (const auto& file : request.files()) content += "\n" + file.sha256() + " " + file.path();
  return folder / base::sha256_hex(content);
}

grpc::Status send_file(const Client& client, Stub& stub, const std::string& upload_id, int index, int64_t offset,
                       const fs::path& path, ProgressLine& progress) {
  grpc::ClientContext context;
  client.authorize(context);
  v1::UploadFileResponse response;
  const auto writer = stub.UploadFile(&context, &response);
  std::ifstream file(path, std::ios::binary);
  file.seekg(offset);
  v1::UploadFileRequest request;
  request.set_upload_id(upload_id);
  request.set_file_index(index);
  request.set_offset(offset);
  std::string piece;
  while (file) {
    piece.resize(kPieceBytes);
    file.read(piece.data(), static_cast<std::streamsize>(piece.size()));
    if (file.gcount() <= 0) break;
    piece.resize(static_cast<size_t>(file.gcount()));
    request.set_data(piece);
    if (!writer->Write(request)) break;
    progress.advance(static_cast<int64_t>(piece.size()), true);
    request.Clear();
  }
  writer->WritesDone();
  return writer->Finish();
}

}  // namespace

v1::Artifact upload_path(const Client& client, const fs::path& path, bool quiet) {
  const auto files = list_files(path);
  v1::BeginUploadRequest request;
  int64_t total = 0;
  for (const auto& [name, file] : files) total += static_cast<int64_t>(fs::file_size(file));
  {
    ProgressLine progress("hashing", total, quiet);
    for (const auto& [name, file] : files) {
      auto* entry = request.add_files();
      entry->set_path(name);
      entry->set_size(static_cast<int64_t>(fs::file_size(file)));
      entry->set_sha256(hash_file(file, progress));
    }
  }
  const fs::path resume = resume_file(client, request);
  try {
    request.set_upload_id(base::read_file(resume, 4096));
  } catch (const base::Error&) {  // no earlier try
  }
  const auto stub = v1::ArtifactService::NewStub(client.channel());
  for (int tries = 1;; ++tries) {
    try {
      v1::Upload upload;
      try {
        upload = client.call(*stub, &Stub::BeginUpload, request);
      } catch (const Failure& failure) {
        if (request.upload_id().empty() || failure.exit() != Exit::kNotFound) throw;
        request.clear_upload_id();  // forgotten there: from the start
        upload = client.call(*stub, &Stub::BeginUpload, request);
      }
      request.set_upload_id(upload.id());
      try {
        fs::create_directories(resume.parent_path());
        base::write_file_atomically(resume, upload.id(), 0600);
      } catch (const std::exception&) {  // only costs the resuming
      }
      ProgressLine progress("uploading", total, quiet);
      for (int i = 0; i < upload.files_size(); ++i) {
        const int64_t received = upload.files(i).received();
        progress.advance(received, false);
        if (received >= request.files(i).size()) continue;
        client.check(
            send_file(client, *stub, upload.id(), i, received, files.at(static_cast<size_t>(i)).second, progress));
      }
      v1::FinishUploadRequest finish;
      finish.set_upload_id(upload.id());
      const auto artifact = client.call(*stub, &Stub::FinishUpload, finish, std::chrono::seconds(600));
      std::error_code ignored;
      fs::remove(resume, ignored);
      return artifact;
    } catch (const Failure& failure) {
      if (failure.exit() != Exit::kUnavailable || tries == kTries) throw;
      std::this_thread::sleep_for(std::chrono::milliseconds(250) * (1 << std::min(tries, 4)));
    }
  }
}

}  // namespace slipway::cli
