// Writes small GGUF files into memory, right or wrong as a test wants them.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

namespace slipway::model {

class GgufBuilder {
 public:
  template <typename T>
  GgufBuilder& number(T value) {
    char bytes[sizeof(T)];
    std::memcpy(bytes, &value, sizeof(T));
    bytes_.append(bytes, sizeof(T));
    return *this;
  }
  GgufBuilder& text(const std::string& value) {
    number<uint64_t>(value.size());
    bytes_ += value;
    return *this;
  }
  GgufBuilder& header(uint64_t tensors, uint64_t keys, uint32_t version = 3) {
    bytes_ += "GGUF";
    return number(version).number(tensors).number(keys);
  }
  GgufBuilder& string_key(const std::string& key, const std::string& value) {
    return text(key).number<uint32_t>(8).text(value);
  }
  GgufBuilder& uint_key(const std::string& key, uint32_t value) { return text(key).number<uint32_t>(4).number(value); }
  GgufBuilder& float_key(const std::string& key, float value) { return text(key).number<uint32_t>(6).number(value); }
  GgufBuilder& tensor(const std::string& name, const std::vector<uint64_t>& dimensions, uint32_t type,
                      uint64_t offset) {
    text(name).number(static_cast<uint32_t>(dimensions.size()));
    for (const uint64_t size : dimensions) number(size);
    return number(type).number(offset);
  }
  GgufBuilder& align() {
    bytes_.append((32 - bytes_.size() % 32) % 32, '\0');
    return *this;
  }
  GgufBuilder& bytes(size_t count) {
    bytes_.append(count, '\1');
    return *this;
  }
  const std::string& data() const { return bytes_; }
  std::span<const std::byte> span() const { return std::as_bytes(std::span(bytes_)); }

 private:
  std::string bytes_;
};

}  // namespace slipway::model
