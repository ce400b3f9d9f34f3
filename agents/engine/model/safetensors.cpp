#include "agents/engine/model/safetensors.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "agents/engine/model/dequantize.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::model {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // as the reference implementation
constexpr size_t kMaxDimensions = 8;

[[noreturn]] void fail(const std::string& origin, const std::string& what) {
  throw base::Error(base::kInvalidModel, origin + ": " + what,
                    "the file is damaged or is no safetensors file; download or export it again");
}

// A name from the file as it may appear in a message.
std::string quoted(const std::string& name) {
  std::string text = "'";
  for (const char c : name.substr(0, 120)) text += c >= 0x20 && c < 0x7f ? c : '?';
  return text + (name.size() > 120 ? "…'" : "'");
}

[[noreturn]] void cannot_write(const TensorView& tensor) {
  throw base::Error(base::kInvalidModel, "tensor " + tensor.name + " of type " + dtype_name(tensor.dtype) +
                                             " cannot be written: its data does not fit its shape, or it is quantised");
}

std::optional<DType> dtype_of(const std::string& name) {
  if (name == "F32") return DType::kF32;
  if (name == "F16") return DType::kF16;
  if (name == "BF16") return DType::kBF16;
  if (name == "I64") return DType::kI64;
  if (name == "I32") return DType::kI32;
  if (name == "U8" || name == "BOOL") return DType::kU8;
  return std::nullopt;
}

nlohmann::json parse_header(std::string_view text, const std::string& origin) {
  // Deeper than {name: {key: [number]}} is no header; stopping there also bounds what a hostile one can make us build.
  const auto bounded = [&](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    if (depth > 4) fail(origin, "the header is nested too deeply");
    return true;
  };
  nlohmann::json header;
  try {
    header = nlohmann::json::parse(text, bounded);
  } catch (const nlohmann::json::exception& error) {
    fail(origin, std::string("the header is no valid JSON: ") + error.what());
  }
  if (!header.is_object()) fail(origin, "the header is no JSON object");
  return header;
}

}  // namespace

std::vector<TensorView> parse_safetensors(std::span<const std::byte> bytes, const std::string& origin) {
  if (bytes.size() < 8) fail(origin, "the file has only " + std::to_string(bytes.size()) + " bytes");
  uint64_t header_size;
  std::memcpy(&header_size, bytes.data(), 8);
  if (header_size > kMaxHeaderBytes || header_size > bytes.size() - 8) {
    fail(origin, "the header claims " + std::to_string(header_size) + " bytes, but the file has only " +
                     std::to_string(bytes.size() - 8) + " more");
  }
  const auto data = bytes.subspan(8 + static_cast<size_t>(header_size));
  const auto header =
      parse_header({reinterpret_cast<const char*>(bytes.data()) + 8, static_cast<size_t>(header_size)}, origin);

  std::vector<TensorView> tensors;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    const std::string what = "tensor " + quoted(name);
    if (!entry.is_object() || !entry.contains("dtype") || !entry["dtype"].is_string() || !entry.contains("shape") ||
        !entry["shape"].is_array() || !entry.contains("data_offsets") || !entry["data_offsets"].is_array()) {
      fail(origin, what + " lacks dtype, shape or data_offsets");
    }
    TensorView tensor;
    tensor.name = name;
    const auto dtype = dtype_of(entry["dtype"].get<std::string>());
    if (!dtype) {
      throw base::Error(base::kUnsupported, origin + ": " + what + " has the type " + quoted(entry["dtype"]),
                        "known are F32, F16, BF16, I64, I32, U8, BOOL");
    }
    tensor.dtype = *dtype;
    if (entry["shape"].size() > kMaxDimensions) fail(origin, what + " has more than 8 dimensions");
    for (const auto& size : entry["shape"]) {
      if (!size.is_number_unsigned() || size.get<uint64_t>() > INT64_MAX) {
        fail(origin, what + " has a shape that is not of whole numbers");
      }
      tensor.shape.push_back(size.get<int64_t>());
    }
    const auto& offsets = entry["data_offsets"];
    if (offsets.size() != 2 || !offsets[0].is_number_unsigned() || !offsets[1].is_number_unsigned()) {
      fail(origin, what + " has data_offsets that are not two whole numbers");
    }
    const auto begin = offsets[0].get<uint64_t>();
    const auto end = offsets[1].get<uint64_t>();
    if (begin > end || end > data.size()) {
      fail(origin, what + " lies at bytes " + std::to_string(begin) + " to " + std::to_string(end) +
                       ", but the data has only " + std::to_string(data.size()) + "; the file may be truncated");
    }
    const auto size = checked_bytes(tensor.dtype, tensor.shape);
    if (!size || *size != end - begin) {
      fail(origin, what + " has " + std::to_string(end - begin) + " bytes, which is not what its shape needs" +
                       (size ? " (" + std::to_string(*size) + ")" : ""));
    }
    tensor.data = data.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
    tensors.push_back(std::move(tensor));
  }
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return tensors;
}

std::string safetensors_beginning(const std::vector<TensorView>& tensors, uint64_t& data_bytes) {
  nlohmann::ordered_json header;
  header["__metadata__"] = {{"format", "pt"}};  // transformers refuses files without it
  data_bytes = 0;
  for (const TensorView& tensor : tensors) {
    const auto size = checked_bytes(tensor.dtype, tensor.shape);
    if (!size || block_elements(tensor.dtype) != 1) cannot_write(tensor);
    header[tensor.name] = {{"dtype", dtype_name(tensor.dtype)},
                           {"shape", tensor.shape},
                           {"data_offsets", {data_bytes, data_bytes + *size}}};
    data_bytes += *size;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  const uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + text;
}

void write_safetensors(const std::filesystem::path& path, const std::vector<TensorView>& tensors) {
  uint64_t data_bytes = 0;
  const std::string beginning = safetensors_beginning(tensors, data_bytes);
  for (const TensorView& tensor : tensors) {
    if (checked_bytes(tensor.dtype, tensor.shape) != tensor.data.size()) cannot_write(tensor);
  }
  base::AtomicFile file(path);
  file.write(beginning);
  for (const TensorView& tensor : tensors) file.write(tensor.data);
  file.commit();
}

}  // namespace slipway::model
