// A file written piece by piece that appears whole or not at all.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>

#include "backend/base/sha256.h"

namespace slipway::prep {

class FileWriter {
 public:
  // Writes to a temporary name beside `path` until commit(). Throws base::Error.
  explicit FileWriter(std::filesystem::path path);
  ~FileWriter();  // without commit(): leaves nothing behind
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  void write(std::string_view data);
  // fsync, rename, fsync of the folder.
  void commit();

  int64_t bytes() const { return bytes_; }
  std::string sha256() const { return hash_.hex(); }

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  std::FILE* file_ = nullptr;
  base::Sha256 hash_;
  int64_t bytes_ = 0;
};

// A file without a name, gone with the object: written once, then read from any place.
class ScratchFile {
 public:
  explicit ScratchFile(const std::filesystem::path& folder);
  ~ScratchFile();
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  // Appends and returns the offset of the data.
  int64_t append(const void* data, size_t size);
  void read(int64_t offset, void* data, size_t size);

 private:
  std::FILE* file_ = nullptr;
  int64_t size_ = 0;
  int64_t flushed_ = 0;
};

}  // namespace slipway::prep
