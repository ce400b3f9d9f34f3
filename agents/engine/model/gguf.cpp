#include "agents/engine/model/gguf.h"

#include <cstring>
#include <limits>

#include "agents/engine/model/dequantize.h"
#include "agents/engine/model/gguf_format.h"
#include "agents/engine/model/mapped_file.h"
#include "backend/base/error.h"

namespace slipway::model {
namespace {

constexpr const char* kTypeNames[] = {"uint8", "int8",   "uint16", "int16",  "uint32", "int32",  "float32",
                                      "bool",  "string", "array",  "uint64", "int64",  "float64"};
constexpr size_t kTypeBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

constexpr uint64_t kMaxKeys = 1 << 16;
constexpr uint64_t kMaxTensors = 1 << 20;
constexpr uint64_t kMaxNameBytes = 1 << 16;
constexpr uint64_t kMaxDimensions = 4;

[[noreturn]] void fail(const std::string& origin, const std::string& what) {
  throw base::Error(base::kInvalidModel, origin + ": " + what,
                    "the file is damaged or is no GGUF file; download or convert it again");
}

// Reads forward through the file; every step is checked against what is left.
class Reader {
 public:
  Reader(std::span<const std::byte> bytes, const std::string& origin) : bytes_(bytes), origin_(origin) {}

  size_t offset() const { return offset_; }
  size_t left() const { return bytes_.size() - offset_; }

  std::span<const std::byte> take(uint64_t size, const std::string& what) {
    if (size > left()) {
      fail(origin_, what + " at byte " + std::to_string(offset_) + " needs " + std::to_string(size) +
                        " bytes, but the file has only " + std::to_string(left()) + " more");
    }
    const auto taken = bytes_.subspan(offset_, static_cast<size_t>(size));
    offset_ += static_cast<size_t>(size);
    return taken;
  }

  template <typename T>
  T number(const std::string& what) {
    T value;
    std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
    return value;
  }

  std::string_view string(const std::string& what, uint64_t max_bytes) {
    const auto length = number<uint64_t>(what);
    if (length > max_bytes) {
      fail(origin_, what + " has a length of " + std::to_string(length) + " bytes, at most " +
                        std::to_string(max_bytes) + " expected");
    }
    const auto taken = take(length, what);
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }

 private:
  std::span<const std::byte> bytes_;
  const std::string& origin_;
  size_t offset_ = 0;
};

// A name from the file as it may appear in a message: short and printable.
std::string quoted(std::string_view name) {
  std::string text = "'";
  for (const char c : name.substr(0, 80)) text += c >= 0x20 && c < 0x7f ? c : '?';
  return text + (name.size() > 80 ? "…'" : "'");
}

std::optional<DType> dtype_of_ggml(uint32_t type) {
  switch (type) {
    case 0:
      return DType::kF32;
    case 1:
      return DType::kF16;
    case 2:
      return DType::kQ4_0;
    case 3:
      return DType::kQ4_1;
    case 6:
      return DType::kQ5_0;
    case 7:
      return DType::kQ5_1;
    case 8:
      return DType::kQ8_0;
    case 12:
      return DType::kQ4_K;
    case 13:
      return DType::kQ5_K;
    case 14:
      return DType::kQ6_K;
    case 26:
      return DType::kI32;
    case 27:
      return DType::kI64;
    case 30:
      return DType::kBF16;
    default:
      return std::nullopt;
  }
}

template <typename T>
T load(std::span<const std::byte> bytes, uint64_t index) {
  T value;
  std::memcpy(&value, bytes.data() + index * sizeof(T), sizeof(T));
  return value;
}

std::optional<int64_t> integer_at(uint32_t type, std::span<const std::byte> bytes, uint64_t index) {
  switch (type) {
    case kUint8:
    case kBool:
      return load<uint8_t>(bytes, index);
    case kInt8:
      return load<int8_t>(bytes, index);
    case kUint16:
      return load<uint16_t>(bytes, index);
    case kInt16:
      return load<int16_t>(bytes, index);
    case kUint32:
      return load<uint32_t>(bytes, index);
    case kInt32:
      return load<int32_t>(bytes, index);
    case kInt64:
      return load<int64_t>(bytes, index);
    case kUint64: {
      const auto value = load<uint64_t>(bytes, index);
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
      return static_cast<int64_t>(value);
    }
    default:
      return std::nullopt;
  }
}

std::optional<double> number_at(uint32_t type, std::span<const std::byte> bytes, uint64_t index) {
  if (type == kFloat32) return load<float>(bytes, index);
  if (type == kFloat64) return load<double>(bytes, index);
  if (const auto integer = integer_at(type, bytes, index)) return static_cast<double>(*integer);
  return std::nullopt;
}

}  // namespace

GgufFile::GgufFile(const std::filesystem::path& path)
    : file_(std::make_unique<MappedFile>(path)), origin_(path.string()) {
  parse(file_->bytes());
}

GgufFile::GgufFile(std::span<const std::byte> bytes, std::string origin) : origin_(std::move(origin)) { parse(bytes); }

GgufFile::~GgufFile() = default;

void GgufFile::parse(std::span<const std::byte> bytes) {
  Reader reader(bytes, origin_);
  const auto magic = reader.take(4, "the magic number");
  if (std::memcmp(magic.data(), "GGUF", 4) != 0) fail(origin_, "the file does not begin with 'GGUF'");
  version_ = reader.number<uint32_t>("the version");
  if (version_ == 0x02000000U || version_ == 0x03000000U) {
    throw base::Error(base::kUnsupported, origin_ + " is a big-endian GGUF file", "convert it to little-endian");
  }
  if (version_ != 2 && version_ != 3) {
    throw base::Error(base::kUnsupported, origin_ + " has GGUF version " + std::to_string(version_),
                      "versions 2 and 3 are known; convert the model again with a current converter");
  }
  const auto tensor_count = reader.number<uint64_t>("the number of tensors");
  const auto key_count = reader.number<uint64_t>("the number of keys");
  if (key_count > kMaxKeys || key_count > reader.left() / 13) {
    fail(origin_, "the header claims " + std::to_string(key_count) + " keys, more than the file can hold");
  }
  if (tensor_count > kMaxTensors || tensor_count > reader.left() / 24) {
    fail(origin_, "the header claims " + std::to_string(tensor_count) + " tensors, more than the file can hold");
  }

  for (uint64_t i = 0; i < key_count; ++i) {
    const auto key = reader.string("key " + std::to_string(i), kMaxNameBytes);
    const std::string what = "the value of " + quoted(key);
    Value value;
    value.type = reader.number<uint32_t>(what);
    if (value.type == kArray) {
      value.array = true;
      value.type = reader.number<uint32_t>(what);
      value.count = reader.number<uint64_t>(what);
      if (value.type == kArray) fail(origin_, what + " is an array of arrays, which is not known");
    }
    if (value.type > kFloat64) fail(origin_, what + " has the unknown type " + std::to_string(value.type));
    if (value.type == kString) {
      const size_t begin = reader.offset();
      if (value.count > reader.left() / 8) {
        fail(origin_, what + " claims " + std::to_string(value.count) + " strings, more than the file can hold");
      }
      for (uint64_t j = 0; j < value.count; ++j) reader.string(what, bytes.size());
      value.bytes = bytes.subspan(begin, reader.offset() - begin);
    } else {
      if (value.count > reader.left() / kTypeBytes[value.type]) {
        fail(origin_, what + " claims " + std::to_string(value.count) + " elements, more than the file can hold");
      }
      value.bytes = reader.take(value.count * kTypeBytes[value.type], what);
    }
    if (!values_.emplace(key, value).second) fail(origin_, "the key " + quoted(key) + " is there twice");
  }

  const auto alignment = find_int("general.alignment").value_or(kGgufAlignment);
  if (alignment < 1 || alignment > (1 << 20) || (alignment & (alignment - 1)) != 0) {
    fail(origin_, "general.alignment is " + std::to_string(alignment) + ", a power of two up to 2^20 expected");
  }

  std::vector<uint64_t> offsets;
  for (uint64_t i = 0; i < tensor_count; ++i) {
    GgufTensor tensor;
    tensor.name = reader.string("the name of tensor " + std::to_string(i), kMaxNameBytes);
    const std::string what = "tensor " + quoted(tensor.name);
    const auto dimension_count = reader.number<uint32_t>(what);
    if (dimension_count > kMaxDimensions) {
      fail(origin_, what + " has " + std::to_string(dimension_count) + " dimensions, at most 4 expected");
    }
    for (uint32_t d = 0; d < dimension_count; ++d) {
      const auto size = reader.number<uint64_t>(what);
      if (size > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        fail(origin_, what + " has a dimension of " + std::to_string(size));
      }
      tensor.dimensions.push_back(static_cast<int64_t>(size));
    }
    const auto type = reader.number<uint32_t>(what);
    const auto dtype = dtype_of_ggml(type);
    if (!dtype) {
      throw base::Error(base::kUnsupported, origin_ + ": " + what + " has the GGML type " + std::to_string(type),
                        "known are F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K, I32, I64");
    }
    tensor.dtype = *dtype;
    offsets.push_back(reader.number<uint64_t>(what));
    if (!tensor_index_.emplace(tensor.name, tensors_.size()).second) fail(origin_, what + " is there twice");
    tensors_.push_back(std::move(tensor));
  }

  const auto align = static_cast<uint64_t>(alignment);
  const uint64_t data_begin = (reader.offset() + align - 1) / align * align;
  const uint64_t data_size = data_begin <= bytes.size() ? bytes.size() - data_begin : 0;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    GgufTensor& tensor = tensors_[i];
    const std::string what = "tensor " + quoted(tensor.name);
    const int64_t row = tensor.dimensions.empty() ? 1 : tensor.dimensions[0];
    if (row % block_elements(tensor.dtype) != 0) {
      fail(origin_, what + " has rows of " + std::to_string(row) + " elements, a multiple of " +
                        std::to_string(block_elements(tensor.dtype)) + " expected for " + dtype_name(tensor.dtype));
    }
    const auto size = checked_bytes(tensor.dtype, tensor.dimensions);
    if (!size) fail(origin_, what + " has dimensions whose product is too large");
    if (offsets[i] % align != 0) {
      fail(origin_, what + " begins at offset " + std::to_string(offsets[i]) + ", a multiple of " +
                        std::to_string(align) + " expected");
    }
    if (offsets[i] > data_size || *size > data_size - offsets[i]) {
      fail(origin_, what + " needs " + std::to_string(*size) + " bytes at offset " + std::to_string(offsets[i]) +
                        ", but the data has only " + std::to_string(data_size) + " bytes; the file may be truncated");
    }
    tensor.data = bytes.subspan(static_cast<size_t>(data_begin + offsets[i]), static_cast<size_t>(*size));
  }
}

bool GgufFile::contains(std::string_view key) const { return find(key) != nullptr; }

std::vector<std::string_view> GgufFile::keys() const {
  std::vector<std::string_view> keys;
  for (const auto& [key, value] : values_) keys.push_back(key);
  return keys;
}

const GgufFile::Value* GgufFile::find(std::string_view key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? nullptr : &found->second;
}

const GgufFile::Value& GgufFile::require(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) fail(origin_, "the key " + quoted(key) + " is missing");
  return *value;
}

void GgufFile::fail_type(std::string_view key, const Value& value, const char* expected) const {
  fail(origin_, "the key " + quoted(key) + " is " + (value.array ? "an array of " : "of type ") +
                    kTypeNames[value.type] + ", " + expected + " expected");
}

std::optional<std::string_view> GgufFile::find_string(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->array || value->type != kString) fail_type(key, *value, "a string");
  return std::string_view(reinterpret_cast<const char*>(value->bytes.data()) + 8, value->bytes.size() - 8);
}

std::optional<int64_t> GgufFile::find_int(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->array || value->type == kBool) fail_type(key, *value, "an integer");
  const auto integer = integer_at(value->type, value->bytes, 0);
  if (!integer) fail_type(key, *value, "an integer below 2^63");
  return integer;
}

std::optional<double> GgufFile::find_float(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->array || value->type == kBool) fail_type(key, *value, "a number");
  const auto number = number_at(value->type, value->bytes, 0);
  if (!number) fail_type(key, *value, "a number");
  return number;
}

std::optional<bool> GgufFile::find_bool(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->array || value->type != kBool) fail_type(key, *value, "a bool");
  return load<uint8_t>(value->bytes, 0) != 0;
}

std::string_view GgufFile::get_string(std::string_view key) const {
  require(key);
  return *find_string(key);
}

int64_t GgufFile::get_int(std::string_view key) const {
  require(key);
  return *find_int(key);
}

double GgufFile::get_float(std::string_view key) const {
  require(key);
  return *find_float(key);
}

bool GgufFile::get_bool(std::string_view key) const {
  require(key);
  return *find_bool(key);
}

bool GgufFile::is_array(std::string_view key) const {
  const Value* value = find(key);
  return value != nullptr && value->array;
}

std::vector<std::string_view> GgufFile::get_strings(std::string_view key) const {
  const Value& value = require(key);
  if (!value.array || value.type != kString) fail_type(key, value, "an array of strings");
  std::vector<std::string_view> strings;
  strings.reserve(static_cast<size_t>(value.count));
  const char* at = reinterpret_cast<const char*>(value.bytes.data());
  for (uint64_t i = 0; i < value.count; ++i) {
    uint64_t length;
    std::memcpy(&length, at, 8);
    strings.emplace_back(at + 8, static_cast<size_t>(length));
    at += 8 + length;
  }
  return strings;
}

std::vector<int64_t> GgufFile::get_ints(std::string_view key) const {
  const Value& value = require(key);
  if (!value.array || value.type == kString) fail_type(key, value, "an array of integers");
  std::vector<int64_t> numbers;
  numbers.reserve(static_cast<size_t>(value.count));
  for (uint64_t i = 0; i < value.count; ++i) {
    const auto number = integer_at(value.type, value.bytes, i);
    if (!number) fail_type(key, value, "an array of integers");
    numbers.push_back(*number);
  }
  return numbers;
}

std::vector<double> GgufFile::get_floats(std::string_view key) const {
  const Value& value = require(key);
  if (!value.array || value.type == kString) fail_type(key, value, "an array of numbers");
  std::vector<double> numbers;
  numbers.reserve(static_cast<size_t>(value.count));
  for (uint64_t i = 0; i < value.count; ++i) {
    const auto number = number_at(value.type, value.bytes, i);
    if (!number) fail_type(key, value, "an array of numbers");
    numbers.push_back(*number);
  }
  return numbers;
}

const GgufTensor* GgufFile::find_tensor(std::string_view name) const {
  const auto found = tensor_index_.find(name);
  return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

void GgufFile::leave_memory() const {
  if (file_ != nullptr) file_->leave_memory();
}

}  // namespace slipway::model
