// UTF-8 and character classes, see unicode.h.
#include "agents/engine/text/unicode.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <cstring>

namespace slipway::text {

char32_t next_code_point(std::string_view valid, size_t& position) {
  const auto byte = [&](size_t offset) -> char32_t {
    return position + offset < valid.size() ? static_cast<unsigned char>(valid[position + offset]) & 0x3FU : 0;
  };
  const auto first = static_cast<unsigned char>(valid[position]);
  char32_t code_point = first;
  size_t length = utf8_length(first);
  if (length == 2) {
    code_point = ((first & 0x1FU) << 6U) | byte(1);
  } else if (length == 3) {
    code_point = ((first & 0x0FU) << 12U) | (byte(1) << 6U) | byte(2);
  } else if (length == 4) {
    code_point = ((first & 0x07U) << 18U) | (byte(1) << 12U) | (byte(2) << 6U) | byte(3);
  }
  position = std::min(valid.size(), position + length);
  return code_point;
}

char32_t previous_code_point(std::string_view valid, size_t& position) {
  do {
    --position;
  } while (position > 0 && (static_cast<unsigned char>(valid[position]) & 0xC0U) == 0x80U);
  size_t forward = position;
  return next_code_point(valid, forward);
}

void append_utf8(std::string& out, char32_t code_point) {
  const auto put = [&](char32_t value) { out.push_back(static_cast<char>(static_cast<unsigned char>(value))); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0U | (code_point >> 6U));
    put(0x80U | (code_point & 0x3FU));
  } else if (code_point < 0x10000) {
    put(0xE0U | (code_point >> 12U));
    put(0x80U | ((code_point >> 6U) & 0x3FU));
    put(0x80U | (code_point & 0x3FU));
  } else {
    put(0xF0U | (code_point >> 18U));
    put(0x80U | ((code_point >> 12U) & 0x3FU));
    put(0x80U | ((code_point >> 6U) & 0x3FU));
    put(0x80U | (code_point & 0x3FU));
  }
}

namespace {

struct Step {
  size_t length = 0;  // bytes of the character, or of the maximal ill-formed piece
  bool valid = false;
  bool cut_short = false;  // ill-formed only because the text ends here
};

// Looks at one character or ill-formed piece (table 3-7 of the Unicode standard).
Step utf8_step(std::string_view text, size_t position) {
  const auto at = [&](size_t index) { return static_cast<unsigned char>(text[index]); };
  const unsigned char first = at(position);
  if (first < 0x80) return {1, true, false};
  size_t length = 0;
  unsigned char low = 0x80;
  unsigned char high = 0xBF;
  if (first >= 0xC2 && first <= 0xDF) {
    length = 2;
  } else if (first >= 0xE0 && first <= 0xEF) {
    length = 3;
    if (first == 0xE0) low = 0xA0;
    if (first == 0xED) high = 0x9F;
  } else if (first >= 0xF0 && first <= 0xF4) {
    length = 4;
    if (first == 0xF0) low = 0x90;
    if (first == 0xF4) high = 0x8F;
  } else {
    return {1, false, false};
  }
  for (size_t offset = 1; offset < length; ++offset) {
    if (position + offset >= text.size()) return {offset, false, true};
    const unsigned char byte = at(position + offset);
    if (byte < low || byte > high) return {offset, false, false};
    low = 0x80;
    high = 0xBF;
  }
  return {length, true, false};
}

}  // namespace

namespace {

// Whether eight bytes are all below 0x80.
bool eight_ascii(const char* bytes) {
  uint64_t word;
  std::memcpy(&word, bytes, sizeof(word));
  return (word & 0x8080808080808080ULL) == 0;
}

}  // namespace

bool is_ascii(std::string_view text) {
  size_t position = 0;
  while (position + 8 <= text.size() && eight_ascii(text.data() + position)) position += 8;
  return std::all_of(text.begin() + static_cast<std::ptrdiff_t>(position), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

bool is_valid_utf8(std::string_view text) {
  for (size_t position = 0; position < text.size();) {
    if (position + 8 <= text.size() && eight_ascii(text.data() + position)) {
      position += 8;
      continue;
    }
    const Step step = utf8_step(text, position);
    if (!step.valid) return false;
    position += step.length;
  }
  return true;
}

std::string repair_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t position = 0; position < text.size();) {
    const Step step = utf8_step(text, position);
    if (step.valid) {
      out.append(text.substr(position, step.length));
    } else {
      out.append("\xEF\xBF\xBD");
    }
    position += step.length;
  }
  return out;
}

size_t unfinished_tail(std::string_view text) {
  // Only the last three bytes can begin an unfinished character.
  for (size_t back = std::min<size_t>(3, text.size()); back > 0; --back) {
    const size_t position = text.size() - back;
    if ((static_cast<unsigned char>(text[position]) & 0xC0U) != 0xC0U) continue;
    const Step step = utf8_step(text, position);
    if (step.cut_short && step.length == back) return back;
  }
  return 0;
}

size_t count_code_points(std::string_view valid) {
  return static_cast<size_t>(std::count_if(valid.begin(), valid.end(),
                                           [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

bool is_unicode_space(char32_t code_point) { return u_isUWhiteSpace(static_cast<UChar32>(code_point)) != 0; }

bool is_word_character(char32_t code_point) {
  const auto c = static_cast<UChar32>(code_point);
  return u_isUAlphabetic(c) != 0 || (U_GET_GC_MASK(c) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0 ||
         code_point == 0x200C || code_point == 0x200D;
}

const std::array<char32_t, 256>& byte_alphabet() {
  static const std::array<char32_t, 256> table = [] {
    std::array<char32_t, 256> out{};
    char32_t next = 256;
    for (int byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
      out[static_cast<size_t>(byte)] = printable ? static_cast<char32_t>(byte) : next++;
    }
    return out;
  }();
  return table;
}

int byte_of_character(char32_t code_point) {
  static const std::array<int16_t, 324> table = [] {
    std::array<int16_t, 324> out{};
    out.fill(-1);
    for (size_t byte = 0; byte < 256; ++byte) out[byte_alphabet()[byte]] = static_cast<int16_t>(byte);
    return out;
  }();
  return code_point < table.size() ? table[code_point] : -1;
}

std::string bytes_to_alphabet(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char byte : bytes) append_utf8(out, byte_alphabet()[static_cast<unsigned char>(byte)]);
  return out;
}

std::string alphabet_to_bytes(std::string_view token) {
  std::string out;
  out.reserve(token.size());
  for (size_t position = 0; position < token.size();) {
    const int byte = byte_of_character(next_code_point(token, position));
    if (byte < 0) return std::string(token);
    out.push_back(static_cast<char>(byte));
  }
  return out;
}

bool in_byte_alphabet(std::string_view token) {
  for (size_t position = 0; position < token.size();) {
    if (byte_of_character(next_code_point(token, position)) < 0) return false;
  }
  return true;
}

}  // namespace slipway::text
