#include "backend/service/data_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "backend/base/error.h"
#include "backend/base/files.h"
#include "backend/base/status.h"

namespace slipway::service {
namespace {

absl::Status failed(const std::string& what, int error_number) {
  const base::Error error = base::system_error(what, error_number);
  return base::failed_precondition(error.code(), error.what(), error.advice());
}

}  // namespace

absl::StatusOr<std::unique_ptr<DataFolder>> DataFolder::open(const std::filesystem::path& path) {
  std::error_code error;
  const std::filesystem::path whole = std::filesystem::absolute(path, error).lexically_normal();
  if (!std::filesystem::exists(whole, error)) {
    std::filesystem::create_directories(whole.parent_path(), error);
    if (mkdir(whole.c_str(), 0700) != 0 && errno != EEXIST) return failed("make data folder " + whole.string(), errno);
  }
  const std::filesystem::path lock_file = whole / "slipwayd.lock";
  const int lock = ::open(lock_file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock < 0) return failed("open " + lock_file.string(), errno);
  if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
    char owner[32] = {};
    const ssize_t size = read(lock, owner, sizeof owner - 1);
    close(lock);
    std::string process(owner, size > 0 ? static_cast<size_t>(size) : 0);
    if (!process.empty() && process.back() == '\n') process.pop_back();
    return base::failed_precondition("DATA_FOLDER_IN_USE",
                                     "another slipwayd (process " + process + ") uses " + whole.string(),
                                     "stop it first, or choose another folder with --data");
  }
  std::unique_ptr<DataFolder> folder(new DataFolder(whole, lock));
  const std::string process = std::to_string(getpid()) + "\n";
  if (ftruncate(lock, 0) != 0 || pwrite(lock, process.data(), process.size(), 0) < 0) {
    return failed("write " + lock_file.string(), errno);
  }
  return folder;
}

DataFolder::~DataFolder() {
  unlink((path_ / "slipwayd.json").c_str());
  close(lock_);
}

absl::Status DataFolder::write_addresses(const std::string& grpc, const std::string& web, const std::string& version) {
  const nlohmann::ordered_json facts = {{"pid", getpid()}, {"grpc", grpc}, {"web", web}, {"version", version}};
  try {
    base::write_file_atomically(path_ / "slipwayd.json", facts.dump() + "\n");
  } catch (const base::Error& error) {
    return base::failed_precondition(error.code(), error.what(), error.advice());
  }
  return absl::OkStatus();
}

absl::Status DataFolder::write_secret(const std::filesystem::path& file, const std::string& text) {
  try {
    base::write_file_atomically(file, text + "\n", 0600);
  } catch (const base::Error& error) {
    return base::failed_precondition(error.code(), error.what(), error.advice());
  }
  return absl::OkStatus();
}

}  // namespace slipway::service
