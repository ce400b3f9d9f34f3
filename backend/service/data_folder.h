// The folder in which slipwayd keeps everything. One slipwayd per folder. Used by main.cpp.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace slipway::service {

class DataFolder {
 public:
  // Makes the folder where it is missing (for its owner alone) and locks it. FAILED_PRECONDITION names the process that
  // has it.
  static absl::StatusOr<std::unique_ptr<DataFolder>> open(const std::filesystem::path& path);
  // Takes slipwayd.json away and gives the lock back.
  ~DataFolder();
  DataFolder(const DataFolder&) = delete;
  DataFolder& operator=(const DataFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path store_file() const { return path_ / "slipway.db"; }
  std::filesystem::path artifacts() const { return path_ / "artifacts"; }
  std::filesystem::path setup_link_file() const { return path_ / "setup-link"; }
  std::filesystem::path local_join_token_file() const { return path_ / "local-join-token"; }

  // {"pid","grpc","web","version"}: where this slipwayd is. Written once all is ready.
  absl::Status write_addresses(const std::string& grpc, const std::string& web, const std::string& version);
  // For the owner's eyes alone.
  absl::Status write_secret(const std::filesystem::path& file, const std::string& text);

 private:
  DataFolder(std::filesystem::path path, int lock) : path_(std::move(path)), lock_(lock) {}

  std::filesystem::path path_;
  int lock_;
};

}  // namespace slipway::service
