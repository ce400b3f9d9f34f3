// Writes a file of any size that is whole or not there: to a temporary name beside it, fsynced, renamed. Used by the
// writers of safetensors and of containers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

namespace slipway::model {

class FileWriter {
 public:
  // All throw base::Error (DISK_FULL, IO) that names `path`.
  explicit FileWriter(const std::filesystem::path& path);
  ~FileWriter();  // without commit(), nothing is left behind
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  void write(const void* data, size_t size);
  // Zeros up to the next multiple of `alignment` of the file's size so far.
  void pad(uint64_t alignment);
  uint64_t written() const { return written_; }
  void commit();

 private:
  [[noreturn]] void fail() const;

  std::filesystem::path path_;
  std::string temporary_;
  int fd_ = -1;
  uint64_t written_ = 0;
};

}  // namespace slipway::model
