// A new file that is hashed while it is written. Used by checkpoint.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/base/sha256.h"

namespace slipway::train {

// Fills the piece with the bytes that come next.
using NextBytes = std::function<void(std::span<std::byte> piece)>;

// Goes past the page cache where the file system lets it: a checkpoint is read again only after a crash, and copying it
// into the cache would cost the training beside it twice the processor time, and memory. One thread. Throws base::Error
// (DISK_FULL, IO).
class HashedFile {
 public:
  explicit HashedFile(std::filesystem::path path);
  ~HashedFile();
  HashedFile(const HashedFile&) = delete;
  HashedFile& operator=(const HashedFile&) = delete;

  void append(std::string_view text);
  // `size` bytes, in pieces that `next` fills.
  void append(uint64_t size, const NextBytes& next);
  // After the last append(): returns when all is on the disk.
  void finish();

  uint64_t size() const { return size_; }
  // Of a finished file.
  std::string sha256() const { return hash_.hex(); }

 private:
  static constexpr size_t kBlock = 4096;  // what goes past the cache has to begin and end at multiples of it
  static constexpr size_t kBlocks = 256;
  struct alignas(kBlock) Block {
    std::byte bytes[kBlock];
  };

  void write_out();
  void go_through_cache();

  std::filesystem::path path_;
  int fd_ = -1;
  bool past_cache_ = true;
  std::vector<Block> buffer_;
  size_t used_ = 0;  // bytes of it
  uint64_t size_ = 0;
  base::Sha256 hash_;
};

}  // namespace slipway::train
