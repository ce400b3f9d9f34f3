#include "backend/base/ids.h"

#include <sys/random.h>

#include <array>
#include <cerrno>
#include <mutex>
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

using Digits = std::array<unsigned char, 16>;  // of base 32, the highest first

// The random part of an id, or the last one of the same millisecond and one.
Digits next_digits(int64_t now_ms) {
  static std::mutex mutex;
  static Digits digits{};
  static int64_t last_ms = -1;
  const std::lock_guard lock(mutex);
  if (now_ms == last_ms) {
    for (size_t i = digits.size(); i-- > 0;) {
      digits[i] = (digits[i] + 1U) & 31U;
      if (digits[i] != 0) break;
    }
    return digits;
  }
  last_ms = now_ms;
  fill_random(digits.data(), digits.size());
  for (unsigned char& digit : digits) digit &= 31U;
  digits[0] &= 15U;  // room to count
  return digits;
}

}  // namespace

std::string new_id(const std::string& prefix, int64_t now_ms) {
  static constexpr char kAlphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";
  const Digits random_part = next_digits(now_ms);
  std::string id(26, '0');
  uint64_t time = static_cast<uint64_t>(now_ms);
  for (int i = 9; i >= 0; --i) {
    id[static_cast<size_t>(i)] = kAlphabet[time & 31U];
    time >>= 5U;
  }
  for (size_t i = 0; i < 16; ++i) id[10 + i] = kAlphabet[random_part[i]];
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
