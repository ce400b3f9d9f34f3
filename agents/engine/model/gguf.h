// GGUF (version 2 and 3) metadata and tensor table over a mapped file. Used by architecture and weights here, and by
// text/ for the vocabulary. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "agents/engine/model/weights.h"

namespace slipway::model {

class MappedFile;

// One row of the tensor table. dimensions: innermost first, as in the file (a linear weight is {in, out}).
struct GgufTensor {
  std::string_view name;
  DType dtype = DType::kF32;
  std::vector<int64_t> dimensions;
  std::span<const std::byte> data;
};

// Everything is checked against the file when it is opened: counts, lengths, offsets and sizes. The getters are for any
// thread. string_views and spans point into the mapping and live as long as this object.
//
// Getters throw base::Error INVALID_MODEL naming file and key when the key is missing or of another type; find_… return
// nothing when the key is missing and throw only for another type.
class GgufFile {
 public:
  // Throws base::Error: NOT_FOUND, IO, INVALID_MODEL (naming file and key or tensor), UNSUPPORTED (tensor types, byte
  // order).
  explicit GgufFile(const std::filesystem::path& path);
  // Over bytes that the caller keeps alive; `origin` names them in errors.
  GgufFile(std::span<const std::byte> bytes, std::string origin);
  ~GgufFile();
  GgufFile(const GgufFile&) = delete;
  GgufFile& operator=(const GgufFile&) = delete;

  const std::string& origin() const { return origin_; }
  uint32_t version() const { return version_; }

  bool contains(std::string_view key) const;
  std::vector<std::string_view> keys() const;  // sorted

  std::string_view get_string(std::string_view key) const;
  int64_t get_int(std::string_view key) const;   // any integer type
  double get_float(std::string_view key) const;  // any number
  bool get_bool(std::string_view key) const;
  std::optional<std::string_view> find_string(std::string_view key) const;
  std::optional<int64_t> find_int(std::string_view key) const;
  std::optional<double> find_float(std::string_view key) const;
  std::optional<bool> find_bool(std::string_view key) const;

  // Whole arrays.
  std::vector<std::string_view> get_strings(std::string_view key) const;
  std::vector<int64_t> get_ints(std::string_view key) const;   // integers and bools
  std::vector<double> get_floats(std::string_view key) const;  // any numbers
  bool is_array(std::string_view key) const;

  const std::vector<GgufTensor>& tensors() const { return tensors_; }  // in the file's order
  const GgufTensor* find_tensor(std::string_view name) const;

  // See MappedFile.
  void leave_memory() const;

 private:
  struct Value {
    uint32_t type = 0;  // of the value, or of the array's elements
    bool array = false;
    uint64_t count = 1;
    std::span<const std::byte> bytes;  // the value itself; for strings with their length prefixes
  };

  void parse(std::span<const std::byte> bytes);
  const Value* find(std::string_view key) const;
  const Value& require(std::string_view key) const;
  [[noreturn]] void fail_type(std::string_view key, const Value& value, const char* expected) const;

  std::unique_ptr<const MappedFile> file_;
  std::string origin_;
  uint32_t version_ = 0;
  std::map<std::string_view, Value> values_;
  std::vector<GgufTensor> tensors_;
  std::map<std::string_view, size_t> tensor_index_;
};

}  // namespace slipway::model
