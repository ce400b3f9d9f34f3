// Writes a GGUF file (version 3): metadata first, then tensors one at a time, so that no more than one lies in memory.
// Used by gguf_export here and by text/ for the vocabulary. Format:
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "agents/engine/model/weights.h"

namespace slipway::model {

// One thread. Keys are written in the order in which they are given; each at most once.
class GgufWriter {
 public:
  void text(std::string_view key, std::string_view value);
  void integer(std::string_view key, uint32_t value);
  void number(std::string_view key, float value);
  void boolean(std::string_view key, bool value);
  void texts(std::string_view key, std::span<const std::string> values);
  void integers(std::string_view key, std::span<const int32_t> values);
  void numbers(std::string_view key, std::span<const float> values);

  // `shape` as in Hugging Face, [out, in] for a linear weight. `values` is called once, by write(), and gives the
  // elements. dtype: kF32, kF16 or kBF16; others throw base::Error UNSUPPORTED.
  void tensor(std::string name, std::vector<int64_t> shape, DType dtype, std::function<std::vector<float>()> values);

  // In one step: temporary name, fsync, rename. Throws base::Error (DISK_FULL, IO) and leaves nothing behind.
  void write(const std::filesystem::path& path) const;

  // The same file with zeros for matrices, which take no room on the disk: all that a reader asks before it computes.
  // Of the tensors' `values` only those of vectors are called. For a look at it, not to be kept.
  void write_layout(const std::filesystem::path& path) const;

 private:
  struct Tensor {
    std::string name;
    std::vector<int64_t> shape;
    DType dtype;
    uint64_t bytes;
    std::function<std::vector<float>()> values;
  };

  void key(std::string_view key, uint32_t type);
  void list(std::string_view key, uint32_t type, size_t count);
  std::string header() const;

  std::string metadata_;
  uint64_t keys_ = 0;
  std::vector<Tensor> tensors_;
};

}  // namespace slipway::model
