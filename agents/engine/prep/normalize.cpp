#include "agents/engine/prep/normalize.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include <algorithm>

#include "backend/base/error.h"

namespace slipway::prep {
namespace {

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

std::string apply(const icu::Normalizer2* (*form)(UErrorCode&), std::string_view text) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* normalizer = form(status);
  std::string result;
  icu::StringByteSink<std::string> sink(&result, static_cast<int32_t>(text.size()));
  if (U_SUCCESS(status)) {
    normalizer->normalizeUTF8(0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())), sink, nullptr,
                              status);
  }
  if (U_FAILURE(status))
    throw base::Error("INTERNAL", std::string("ICU cannot normalise a text: ") + u_errorName(status));
  return result;
}

bool is_dropped(UChar32 c) { return c == 0xFEFF || (c < 0x20 && c != '\n' && c != '\t') || (c >= 0x7F && c < 0xA0); }

// Calls `visit` with each character and its bytes.
template <typename Visit>
void for_each_character(std::string_view text, const Visit& visit) {
  const char* data = text.data();
  const auto length = static_cast<int32_t>(text.size());
  for (int32_t i = 0; i < length;) {
    const int32_t begin = i;
    UChar32 c = 0;
    U8_NEXT_OR_FFFD(data, i, length, c);
    visit(c, text.substr(static_cast<size_t>(begin), static_cast<size_t>(i - begin)));
  }
}

template <typename IsSpace>
std::string single_spaced(const std::string& text, const IsSpace& is_space) {
  std::string result;
  bool space = false;
  for_each_character(text, [&](UChar32 c, std::string_view bytes) {
    if (is_space(c)) {
      space = true;
      return;
    }
    if (space && !result.empty()) result += ' ';
    space = false;
    result += bytes;
  });
  return result;
}

}  // namespace

std::string normalize_text(std::string_view given, UnicodeForm form) {
  std::string text;
  if (form == UnicodeForm::kNone || is_ascii(given)) {
    text = given;
  } else {
    text =
        apply(form == UnicodeForm::kNfc ? icu::Normalizer2::getNFCInstance : icu::Normalizer2::getNFKCInstance, given);
  }
  std::string result;
  result.reserve(text.size());
  int line_ends = 0;   // since the last character
  std::string spaces;  // since the last character of this line
  bool after_return = false;
  for_each_character(text, [&](UChar32 c, std::string_view bytes) {
    if (c == '\n' && after_return) {
      after_return = false;
      return;
    }
    after_return = c == '\r';
    if (c == '\n' || c == '\r' || c == 0x2028 || c == 0x2029 || c == 0x85) {
      ++line_ends;
      spaces.clear();
    } else if (c == '\t' || u_charType(c) == U_SPACE_SEPARATOR) {
      spaces += bytes;
    } else if (!is_dropped(c)) {
      if (!result.empty()) result.append(static_cast<size_t>(std::min(line_ends, 2)), '\n');
      line_ends = 0;
      result += spaces;
      spaces.clear();
      result += bytes;
    }
  });
  return result;
}

std::string exact_key(std::string_view text) {
  const std::string composed = is_ascii(text) ? std::string(text) : apply(icu::Normalizer2::getNFCInstance, text);
  return single_spaced(composed, [](UChar32 c) { return u_isUWhiteSpace(c) != 0; });
}

std::string near_key(std::string_view text) {
  const std::string folded = apply(icu::Normalizer2::getNFKCCasefoldInstance, text);
  return single_spaced(folded, [](UChar32 c) { return u_isalnum(c) == 0 && (U_GET_GC_MASK(c) & U_GC_M_MASK) == 0; });
}

}  // namespace slipway::prep
