#include "backend/base/ids.h"

#include <sys/random.h>

#include <array>
#include <cerrno>
#include <vector>

#include "backend/base/error.h"

namespace slipway::base {
namespace {

void fill_random(unsigned char* data, size_t size) {
  size_t done = 0;
  while (done < size) {
    const ssize_t got = getrandom(data + done, size - done, 0);
    if (got < 0) {
      if (errno == EINTR) continue;
      throw system_error("getrandom", errno);
    }
    done += static_cast<size_t>(got);
  }
}

}  // namespace

std::string new_id(const std::string& prefix, int64_t now_ms) {
  static constexpr char kAlphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";
  std::array<unsigned char, 16> random_part{};
  fill_random(random_part.data(), random_part.size());
  std::string id(26, '0');
  uint64_t time = static_cast<uint64_t>(now_ms);
  for (int i = 9; i >= 0; --i) {
    id[static_cast<size_t>(i)] = kAlphabet[time & 31U];
    time >>= 5U;
  }
  for (size_t i = 0; i < 16; ++i) id[10 + i] = kAlphabet[random_part[i] & 31U];
  return prefix + "-" + id;
}

std::string random_secret(size_t bytes) {
  static constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::vector<unsigned char> data(bytes);
  fill_random(data.data(), data.size());
  std::string text;
  uint32_t buffer = 0;
  int bits = 0;
  for (const unsigned char byte : data) {
    buffer = (buffer << 8U) | byte;
    bits += 8;
    while (bits >= 6) {
      bits -= 6;
      text += kAlphabet[(buffer >> static_cast<unsigned>(bits)) & 63U];
    }
  }
  if (bits > 0) text += kAlphabet[(buffer << static_cast<unsigned>(6 - bits)) & 63U];
  return text;
}

}  // namespace slipway::base
