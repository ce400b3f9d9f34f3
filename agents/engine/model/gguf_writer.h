// Writes GGUF (version 3): metadata, then tensors one after the other, so that no more than one of them is in memory.
// Used by train when it exports a model. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "agents/engine/model/gguf.h"

namespace slipway::model {

// One thread.
class GgufWriter {
 public:
  void add(std::string_view key, std::string_view value);
  void add(std::string_view key, bool value);
  void add_u32(std::string_view key, uint32_t value);
  void add_f32(std::string_view key, float value);
  void add(std::string_view key, std::span<const std::string> values);
  void add(std::string_view key, std::span<const int32_t> values);
  // As it lies in another file.
  void add(std::string_view key, const GgufValue& value);

  // dtype: kF32, kF16 or kBF16. dimensions: innermost first. `values` gives the elements when it is their turn.
  void add_tensor(std::string name, DType dtype, std::vector<int64_t> dimensions,
                  std::function<std::vector<float>()> values);

  // Writes the file in one step (temporary name, fsync, rename). Throws base::Error.
  void write(const std::filesystem::path& path) const;

 private:
  struct Tensor {
    std::string name;
    DType dtype = DType::kF32;
    std::vector<int64_t> dimensions;
    std::function<std::vector<float>()> values;
    uint64_t bytes() const;
  };
  void begin(std::string_view key, uint32_t type);
  std::string header() const;

  std::string values_;
  uint64_t value_count_ = 0;
  std::vector<Tensor> tensors_;
};

}  // namespace slipway::model
