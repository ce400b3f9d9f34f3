// Weights on disk as the files have them: (sharded) safetensors under their own names, GGUF under a decoder's.
// decoder_tensors.h puts them in order for a decoder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace slipway::model {

enum class DType { kF32, kF16, kBF16, kQ8_0, kQ4_0, kQ4_1, kQ5_0, kQ5_1, kQ4_K, kQ5_K, kQ6_K, kI64, kI32, kU8 };

std::string dtype_name(DType dtype);

// One tensor in a mapped file. Row-major; shape as in Hugging Face: [out, in] for a linear weight.
struct TensorView {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::span<const std::byte> data;  // valid as long as the Weights it came from

  int64_t elements() const;
};

// A read-only, mapped set of tensors. Any thread. Sizes and offsets have been checked against the file.
class Weights {
 public:
  virtual ~Weights() = default;
  virtual const std::vector<std::string>& names() const = 0;  // sorted
  virtual bool contains(const std::string& name) const = 0;
  // Throws base::Error INVALID_MODEL that names file and tensor when it is missing.
  virtual TensorView get(const std::string& name) const = 0;
  // Writes the tensor's elements() as f32 in Hugging Face's layout: dequantised, and for GGUF Llama files with the
  // rows of q_proj and k_proj permuted back.
  virtual void read_f32(const std::string& name, std::span<float> out) const = 0;
  // The same of a matrix's rows from `first` on, as many as out holds whole.
  virtual void read_rows_f32(const std::string& name, int64_t first, std::span<float> out) const = 0;
  // What this process holds of mapped files leaves its memory until it is read again.
  virtual void leave_memory() const {}
};

// A Hugging Face folder (model.safetensors or the sharded index), one .safetensors, or a .gguf of a known architecture.
std::unique_ptr<const Weights> open_weights(const std::filesystem::path& path);

// The beginning of a .safetensors file, up to the data of these tensors, which follow one after the other: what their
// `data` is does not matter yet. Sets data_bytes, of all of them.
std::string safetensors_beginning(const std::vector<TensorView>& tensors, uint64_t& data_bytes);

// Writes one .safetensors in one step (temporary name, fsync, rename). Data pointers must hold shape × dtype bytes.
void write_safetensors(const std::filesystem::path& path, const std::vector<TensorView>& tensors);

}  // namespace slipway::model
