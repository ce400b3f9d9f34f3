#include "agents/engine/text/precompiled.h"

#include <unicode/brkiter.h>
#include <unicode/utext.h>

#include <array>
#include <cstring>
#include <memory>

#include "agents/engine/text/json_fields.h"
#include "agents/engine/text/unicode.h"

namespace slipway::text {

namespace {

constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// Units of a double array, as darts-clone lays them out.
bool has_leaf(uint32_t unit) { return ((unit >> 8U) & 1U) == 1; }
uint32_t value_of(uint32_t unit) { return unit & 0x7fffffffU; }
uint32_t label_of(uint32_t unit) { return unit & (0x80000000U | 0xffU); }
uint32_t offset_of(uint32_t unit) { return (unit >> 10U) << ((unit & (1U << 9U)) >> 6U); }

}  // namespace

std::string to_base64(std::string_view bytes) {
  std::string out;
  for (size_t position = 0; position < bytes.size(); position += 3) {
    uint32_t group = 0;
    const size_t count = std::min<size_t>(3, bytes.size() - position);
    for (size_t index = 0; index < 3; ++index) {
      group = group << 8U | (index < count ? static_cast<unsigned char>(bytes[position + index]) : 0U);
    }
    for (size_t index = 0; index < 4; ++index)
      out.push_back(index <= count ? kBase64[(group >> (18 - 6 * index)) & 63U] : '=');
  }
  return out;
}

std::string from_base64(std::string_view text, const std::string& where) {
  std::array<int8_t, 256> values;
  values.fill(-1);
  for (size_t value = 0; value < kBase64.size(); ++value)
    values[static_cast<unsigned char>(kBase64[value])] = static_cast<int8_t>(value);
  while (!text.empty() && text.back() == '=') text.remove_suffix(1);
  std::string out;
  out.reserve(text.size() * 3 / 4);
  uint32_t bits = 0;
  unsigned count = 0;
  for (const char c : text) {
    const int value = values[static_cast<unsigned char>(c)];
    if (value < 0) throw bad_field(where, "base64");
    bits = bits << 6U | static_cast<uint32_t>(value);
    count += 6;
    if (count >= 8) {
      count -= 8;
      out.push_back(static_cast<char>(static_cast<unsigned char>(bits >> count)));
    }
  }
  return out;
}

Precompiled::Precompiled(const std::string& charsmap, const std::string& where) {
  if (charsmap.empty()) return;
  uint32_t trie_bytes = 0;
  if (charsmap.size() >= 4) std::memcpy(&trie_bytes, charsmap.data(), 4);
  if (charsmap.size() < 4 || trie_bytes % 4 != 0 || trie_bytes < 4 || trie_bytes > charsmap.size() - 4)
    throw bad_field(where, "a table whose length fits its size of " + std::to_string(charsmap.size()) + " bytes");
  trie_.resize(trie_bytes / 4);
  std::memcpy(trie_.data(), charsmap.data() + 4, trie_bytes);
  texts_ = charsmap.substr(4 + trie_bytes);
  if (!texts_.empty() && texts_.back() != '\0') texts_.push_back('\0');
}

// The text for the shortest entry that `text` begins with.
std::optional<std::string_view> Precompiled::replacement(std::string_view text) const {
  size_t node = offset_of(trie_[0]);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte == 0) return std::nullopt;
    node ^= byte;
    if (node >= trie_.size() || label_of(trie_[node]) != byte) return std::nullopt;
    const uint32_t unit = trie_[node];
    node ^= offset_of(unit);
    if (!has_leaf(unit)) continue;
    if (node >= trie_.size()) return std::nullopt;
    const size_t at = value_of(trie_[node]);
    if (at >= texts_.size()) return std::nullopt;
    return std::string_view(texts_.c_str() + at);
  }
  return std::nullopt;
}

std::string Precompiled::apply(const std::string& text) const {
  if (trie_.empty()) return text;
  UErrorCode status = U_ZERO_ERROR;
  const std::unique_ptr<icu::BreakIterator> graphemes(
      icu::BreakIterator::createCharacterInstance(icu::Locale::getRoot(), status));
  UText* utext = utext_openUTF8(nullptr, text.data(), static_cast<int64_t>(text.size()), &status);
  if (U_FAILURE(status))
    throw base::Error(base::kIo, std::string("ICU cannot find graphemes: ") + u_errorName(status), "install libicu");
  graphemes->setText(utext, status);
  std::string out;
  auto begin = static_cast<size_t>(graphemes->first());
  for (int32_t next = graphemes->next(); next != icu::BreakIterator::DONE; next = graphemes->next()) {
    const auto end = static_cast<size_t>(next);
    const std::string_view grapheme = std::string_view(text).substr(begin, end - begin);
    begin = end;
    if (grapheme.size() < 6) {
      if (const auto found = replacement(grapheme)) {
        out += *found;
        continue;
      }
    }
    for (size_t position = 0; position < grapheme.size();) {
      const size_t start = position;
      next_code_point(grapheme, position);
      const std::string_view character = grapheme.substr(start, position - start);
      out += replacement(character).value_or(character);
    }
  }
  utext_close(utext);
  if (!is_valid_utf8(out)) return repair_utf8(out);  // the table comes from a file
  return out;
}

}  // namespace slipway::text
