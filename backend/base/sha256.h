// SHA-256, whole or in pieces (OpenSSL).
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace slipway::base {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(const void* data, size_t size);
  void update(std::string_view data) { update(data.data(), data.size()); }
  // 64 lower-case hex digits of all given so far; further updates may follow.
  std::string hex() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string sha256_hex(std::string_view data);
// Reads in 1 MiB pieces. Throws base::Error when the file cannot be read.
std::string sha256_file(const std::filesystem::path& path);

}  // namespace slipway::base
