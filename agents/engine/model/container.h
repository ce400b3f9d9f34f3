// Slipway's own model file (.slipway): a decoder's weights as the kernels read them, mapped from disk, with the
// configuration and the tokenizer that belong to them. Written by quantize/, read by runtime/ and text/.
//
//   "SLIPWAY\0", then little-endian: u32 version, u32 0, u64 bytes of the header, u64 hash of the header
//   the header, JSON: {"weights": "int8", "method": "rounded", "source": "…",
//                      "tensors": {NAME: {"format", "shape", "offset", "bytes", "hash"}},
//                      "files": {NAME: {"offset", "bytes", "hash"}}}
//   what it lists, each at a multiple of 64 bytes from the file's beginning
// Tensors have the decoder's names (decoder_tensors.h); format f32 is row-major, the others are panels
// (kernels/layout.h). Hashes are content_hash() in 16 hexadecimal digits.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "agents/engine/model/mapped_file.h"

namespace slipway::model {

// Of panels or of the header: a newer one is refused, and version 1 where it holds int4, which lay in another order.
inline constexpr uint32_t kContainerVersion = 2;

// Whether the path is that of a container, by its name.
bool is_container(const std::filesystem::path& path);

// Against damage, not against people: FNV-1a over eight lanes of 64-bit words, any changed word of which changes it.
uint64_t content_hash(std::span<const std::byte> data);

struct PackedTensor {
  std::string format;  // f32, bf16, int8, int6, int4
  std::vector<int64_t> shape;
  std::span<const std::byte> data;
};

struct ContainerContent {
  std::string weights;  // the format of the layers
  std::string method;   // how they were rounded: rounded, gptq
  std::string source;   // the name of what they were made from
  std::map<std::string, PackedTensor> tensors;
  std::map<std::string, std::string> files;  // config.json, tokenizer.json, …
};

// Any thread.
class Container {
 public:
  // Maps the file and checks its header. Throws base::Error: NOT_FOUND, UNSUPPORTED for a version that is not read,
  // INVALID_MODEL naming file, tensor and what was expected.
  explicit Container(const std::filesystem::path& path);

  const std::string& weights() const { return weights_; }
  const std::string& method() const { return method_; }
  std::vector<std::string> names() const;  // of tensors, sorted
  bool contains(const std::string& name) const { return tensors_.contains(name); }
  // Throws base::Error INVALID_MODEL when there is none.
  const PackedTensor& tensor(const std::string& name) const;
  // Throws base::Error INVALID_MODEL when the tensor's bytes are not those that were written.
  void verify(const std::string& name) const;
  // One of the files, checked likewise; nothing when it is not there.
  std::optional<std::string> file(const std::string& name) const;

 private:
  struct Part {
    std::span<const std::byte> data;
    uint64_t hash = 0;
  };

  void check(const std::string& what, const Part& part) const;

  std::string origin_;
  MappedFile file_;
  std::string weights_, method_;
  std::map<std::string, PackedTensor> tensors_;
  std::map<std::string, uint64_t> hashes_;  // of tensors
  std::map<std::string, Part> files_;
};

// In one step: a temporary name, fsync, rename. Throws base::Error.
void write_container(const std::filesystem::path& path, const ContainerContent& content);

}  // namespace slipway::model
