// A file mapped read-only into memory. Used by the GGUF and safetensors readers.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace slipway::model {

class MappedFile {
 public:
  // Throws base::Error NOT_FOUND or IO. An empty file maps to an empty span.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }

  // What is in this process's memory leaves it until it is read again.
  void leave_memory() const;

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace slipway::model
