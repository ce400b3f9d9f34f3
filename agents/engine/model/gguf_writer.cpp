#include "agents/engine/model/gguf_writer.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <system_error>
#include <utility>

#include "agents/engine/model/dequantize.h"
#include "agents/engine/model/gguf_format.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::model {
namespace {

constexpr uint32_t kVersion = 3;

template <typename T>
void put(std::string& out, T value) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  out.append(bytes, sizeof(T));
}

void put_text(std::string& out, std::string_view value) {
  put<uint64_t>(out, value.size());
  out += value;
}

uint32_t ggml_type(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return 0;
    case DType::kF16:
      return 1;
    case DType::kBF16:
      return 30;
    default:
      throw base::Error(base::kUnsupported,
                        "a GGUF file with tensors of type " + dtype_name(dtype) + " cannot be written",
                        "known are F32, F16, BF16");
  }
}

uint64_t padding(uint64_t size) { return (kGgufAlignment - size % kGgufAlignment) % kGgufAlignment; }

// The elements as the file holds them.
std::string stored(const std::vector<float>& values, DType dtype) {
  std::string out(values.size() * static_cast<size_t>(block_bytes(dtype)), '\0');
  if (dtype == DType::kF32) {
    std::memcpy(out.data(), values.data(), out.size());
    return out;
  }
  for (size_t i = 0; i < values.size(); ++i) {
    const uint16_t bits = dtype == DType::kBF16 ? f32_to_bf16(values[i]) : f32_to_f16(values[i]);
    std::memcpy(out.data() + i * sizeof bits, &bits, sizeof bits);
  }
  return out;
}

}  // namespace

void GgufWriter::key(std::string_view key, uint32_t type) {
  put_text(metadata_, key);
  put(metadata_, type);
  ++keys_;
}

void GgufWriter::list(std::string_view key, uint32_t type, size_t count) {
  this->key(key, kArray);
  put(metadata_, type);
  put<uint64_t>(metadata_, count);
}

void GgufWriter::text(std::string_view key, std::string_view value) {
  this->key(key, kString);
  put_text(metadata_, value);
}

void GgufWriter::integer(std::string_view key, uint32_t value) {
  this->key(key, kUint32);
  put(metadata_, value);
}

void GgufWriter::number(std::string_view key, float value) {
  this->key(key, kFloat32);
  put(metadata_, value);
}

void GgufWriter::boolean(std::string_view key, bool value) {
  this->key(key, kBool);
  put<uint8_t>(metadata_, value ? 1 : 0);
}

void GgufWriter::texts(std::string_view key, std::span<const std::string> values) {
  list(key, kString, values.size());
  for (const std::string& value : values) put_text(metadata_, value);
}

void GgufWriter::integers(std::string_view key, std::span<const int32_t> values) {
  list(key, kInt32, values.size());
  for (const int32_t value : values) put(metadata_, value);
}

void GgufWriter::numbers(std::string_view key, std::span<const float> values) {
  list(key, kFloat32, values.size());
  for (const float value : values) put(metadata_, value);
}

void GgufWriter::tensor(std::string name, std::vector<int64_t> shape, DType dtype,
                        std::function<std::vector<float>()> values) {
  ggml_type(dtype);
  const auto bytes = checked_bytes(dtype, shape);
  if (!bytes) throw base::Error(base::kInvalidModel, "tensor " + name + " has dimensions whose product is too large");
  tensors_.push_back({std::move(name), std::move(shape), dtype, *bytes, std::move(values)});
}

std::string GgufWriter::header() const {
  std::string out = "GGUF";
  put(out, kVersion);
  put<uint64_t>(out, tensors_.size());
  put(out, keys_);
  out += metadata_;
  uint64_t offset = 0;
  for (const Tensor& tensor : tensors_) {
    put_text(out, tensor.name);
    put(out, static_cast<uint32_t>(tensor.shape.size()));
    for (auto size = tensor.shape.rbegin(); size != tensor.shape.rend(); ++size)
      put<uint64_t>(out, static_cast<uint64_t>(*size));
    put(out, ggml_type(tensor.dtype));
    put(out, offset);
    offset += tensor.bytes + padding(tensor.bytes);
  }
  out.append(padding(out.size()), '\0');
  return out;
}

namespace {

std::string stored_tensor(const std::string& name, const std::vector<float>& values, DType dtype, uint64_t bytes) {
  std::string data = stored(values, dtype);
  if (data.size() == bytes) return data;
  throw base::Error(base::kInvalidModel, "tensor " + name + " has " + std::to_string(data.size()) +
                                             " bytes of values, its shape needs " + std::to_string(bytes));
}

}  // namespace

void GgufWriter::write(const std::filesystem::path& path) const {
  base::AtomicFile file(path);
  file.write(header());
  for (const Tensor& tensor : tensors_) {
    std::string data = stored_tensor(tensor.name, tensor.values(), tensor.dtype, tensor.bytes);
    data.append(padding(data.size()), '\0');
    file.write(data);
  }
  file.commit();
}

void GgufWriter::write_layout(const std::filesystem::path& path) const {
  const std::string begin = header();
  std::ofstream file(path, std::ios::binary);
  file << begin;
  uint64_t end = begin.size();
  for (const Tensor& tensor : tensors_) {
    if (tensor.shape.size() == 1) {
      file.seekp(static_cast<std::streamoff>(end));
      file << stored_tensor(tensor.name, tensor.values(), tensor.dtype, tensor.bytes);
    }
    end += tensor.bytes + padding(tensor.bytes);
  }
  file.close();
  std::error_code failure;
  if (file) std::filesystem::resize_file(path, end, failure);
  if (!file || failure) throw base::system_error("write " + path.string(), failure ? failure.value() : errno);
}

}  // namespace slipway::model
