#include "agents/engine/model/gguf_writer.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <utility>

#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::model {

namespace {

constexpr uint64_t kAlignment = 32;
// Types of values and of tensors in the file.
constexpr uint32_t kU32 = 4, kI32 = 5, kFloat = 6, kBool = 7, kString = 8, kArray = 9;
constexpr uint32_t kTensorF32 = 0, kTensorF16 = 1, kTensorBF16 = 30;

template <typename T>
void put(std::string& out, T value) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  out.append(bytes, sizeof(T));
}

void put_string(std::string& out, std::string_view text) {
  put(out, static_cast<uint64_t>(text.size()));
  out.append(text);
}

uint32_t type_in_file(DType dtype) {
  return dtype == DType::kF16 ? kTensorF16 : dtype == DType::kBF16 ? kTensorBF16 : kTensorF32;
}

uint16_t to_bf16(float value) {
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7fffffffU) > 0x7f800000U) return static_cast<uint16_t>((bits >> 16U) | 0x40U);  // stays NaN
  return static_cast<uint16_t>((bits + 0x7fffU + ((bits >> 16U) & 1U)) >> 16U);
}

uint16_t to_f16(float value) {
  const _Float16 half = static_cast<_Float16>(value);
  uint16_t bits = 0;
  std::memcpy(&bits, &half, sizeof bits);
  return bits;
}

std::string bytes_of(const std::vector<float>& values, DType dtype) {
  std::string out;
  if (dtype == DType::kF32) {
    out.assign(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
    return out;
  }
  std::vector<uint16_t> halves(values.size());
  for (size_t i = 0; i < values.size(); ++i) halves[i] = dtype == DType::kF16 ? to_f16(values[i]) : to_bf16(values[i]);
  out.assign(reinterpret_cast<const char*>(halves.data()), halves.size() * sizeof(uint16_t));
  return out;
}

uint64_t aligned(uint64_t size) { return (size + kAlignment - 1) / kAlignment * kAlignment; }

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

}  // namespace

uint64_t GgufWriter::Tensor::bytes() const {
  uint64_t elements = 1;
  for (const int64_t dimension : dimensions) elements *= static_cast<uint64_t>(dimension);
  return elements * (dtype == DType::kF32 ? 4 : 2);
}

void GgufWriter::begin(std::string_view key, uint32_t type) {
  put_string(values_, key);
  put(values_, type);
  ++value_count_;
}

void GgufWriter::add(std::string_view key, std::string_view value) {
  begin(key, kString);
  put_string(values_, value);
}

void GgufWriter::add(std::string_view key, bool value) {
  begin(key, kBool);
  put(values_, static_cast<uint8_t>(value ? 1 : 0));
}

void GgufWriter::add_u32(std::string_view key, uint32_t value) {
  begin(key, kU32);
  put(values_, value);
}

void GgufWriter::add_f32(std::string_view key, float value) {
  begin(key, kFloat);
  put(values_, value);
}

void GgufWriter::add(std::string_view key, std::span<const std::string> values) {
  begin(key, kArray);
  put(values_, kString);
  put(values_, static_cast<uint64_t>(values.size()));
  for (const std::string& value : values) put_string(values_, value);
}

void GgufWriter::add(std::string_view key, std::span<const int32_t> values) {
  begin(key, kArray);
  put(values_, kI32);
  put(values_, static_cast<uint64_t>(values.size()));
  for (const int32_t value : values) put(values_, value);
}

void GgufWriter::add(std::string_view key, const GgufValue& value) {
  begin(key, value.array ? kArray : value.type);
  if (value.array) {
    put(values_, value.type);
    put(values_, value.count);
  }
  values_.append(reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size());
}

void GgufWriter::add_tensor(std::string name, DType dtype, std::vector<int64_t> dimensions,
                            std::function<std::vector<float>()> values) {
  tensors_.push_back({std::move(name), dtype, std::move(dimensions), std::move(values)});
}

std::string GgufWriter::header() const {
  std::string out = "GGUF";
  put(out, uint32_t{3});
  put(out, static_cast<uint64_t>(tensors_.size()));
  put(out, value_count_);
  out += values_;
  uint64_t offset = 0;
  for (const Tensor& tensor : tensors_) {
    put_string(out, tensor.name);
    put(out, static_cast<uint32_t>(tensor.dimensions.size()));
    for (const int64_t dimension : tensor.dimensions) put(out, static_cast<uint64_t>(dimension));
    put(out, type_in_file(tensor.dtype));
    put(out, offset);
    offset += aligned(tensor.bytes());
  }
  out.resize(aligned(out.size()), '\0');
  return out;
}

void GgufWriter::write(const std::filesystem::path& path) const {
  const std::filesystem::path temporary = path.string() + ".writing";
  const auto fail = [&] { throw base::system_error("cannot write " + path.string(), errno); };
  {
    const std::unique_ptr<std::FILE, CloseFile> file(std::fopen(temporary.c_str(), "wb"));
    if (!file) fail();
    const auto append = [&](std::string bytes) {
      bytes.resize(aligned(bytes.size()), '\0');
      if (std::fwrite(bytes.data(), 1, bytes.size(), file.get()) != bytes.size()) fail();
    };
    append(header());
    for (const Tensor& tensor : tensors_) append(bytes_of(tensor.values(), tensor.dtype));
    if (std::fflush(file.get()) != 0) fail();
  }
  base::sync_path(temporary);
  std::filesystem::rename(temporary, path);
}

}  // namespace slipway::model
