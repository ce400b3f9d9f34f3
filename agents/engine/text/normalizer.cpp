// The steps of a normalizer, see normalizer.h.
#include "agents/engine/text/normalizer.h"

#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/uniset.h>
#include <unicode/unistr.h>

#include <memory>

#include "agents/engine/text/json_fields.h"
#include "agents/engine/text/precompiled.h"
#include "agents/engine/text/regex.h"
#include "agents/engine/text/unicode.h"

namespace slipway::text {

namespace {

constexpr char kKnown[] =
    "Sequence, NFC, NFD, NFKC, NFKD, Lowercase, Prepend, Replace, Strip, StripAccents, Nmt, Precompiled";

using Instance = const icu::Normalizer2* (*)(UErrorCode&);

std::string normalize_with(const icu::Normalizer2& normalizer, const std::string& text) {
  if (is_ascii(text)) return text;  // every form leaves ASCII as it is
  UErrorCode status = U_ZERO_ERROR;
  if (normalizer.isNormalizedUTF8(text, status) != 0 && U_SUCCESS(status)) return text;
  status = U_ZERO_ERROR;
  const icu::UnicodeString result = normalizer.normalize(icu::UnicodeString::fromUTF8(text), status);
  if (U_FAILURE(status))
    throw base::Error(base::kInvalidData, std::string("text cannot be normalized: ") + u_errorName(status));
  std::string out;
  result.toUTF8String(out);
  return out;
}

// The characters whose forms Hugging Face's `tokenizers` knows: its unicode-normalization-alignments 0.1.12 is of
// Unicode 9.0, and leaves later ones where they stand.
const icu::UnicodeSet& known_characters() {
  static const auto* const set = [] {
    UErrorCode status = U_ZERO_ERROR;
    auto* made = new icu::UnicodeSet(UNICODE_STRING_SIMPLE("[:age=9.0:]"), status);  // lives as long as the process
    if (U_FAILURE(status))
      throw base::Error(base::kIo, "ICU does not know the ages of characters", "install libicu's data");
    made->freeze();
    return made;
  }();
  return *set;
}

std::string replace_matches(const std::string& text, const std::vector<ByteRange>& matches,
                            const std::string& content) {
  std::string out;
  size_t end = 0;
  for (const auto& [begin, match_end] : matches) {
    out.append(text, end, begin - end);
    out.append(content);
    end = match_end;
  }
  out.append(text, end);
  return out;
}

std::string replace_literal(const std::string& text, const std::string& pattern, const std::string& content) {
  std::string out;
  size_t position = 0;
  for (size_t found = text.find(pattern); found != std::string::npos; found = text.find(pattern, position)) {
    out.append(text, position, found - position);
    out.append(content);
    position = found + pattern.size();
  }
  out.append(text, position);
  return out;
}

template <typename Function>  // void(std::string& out, char32_t)
std::string map_characters(const std::string& text, Function&& function) {
  std::string out;
  out.reserve(text.size());
  for (size_t position = 0; position < text.size();) function(out, next_code_point(text, position));
  return out;
}

std::string strip(const std::string& text, bool left, bool right) {
  size_t begin = 0;
  size_t end = text.size();
  while (left && begin < end) {
    size_t next = begin;
    if (!is_unicode_space(next_code_point(text, next))) break;
    begin = next;
  }
  while (right && end > begin) {
    size_t previous = end;
    if (!is_unicode_space(previous_code_point(text, previous))) break;
    end = previous;
  }
  return text.substr(begin, end - begin);
}

// SentencePiece's NMT clean-up: control characters vanish, odd spaces become plain ones.
std::string nmt(const std::string& text) {
  return map_characters(text, [](std::string& out, char32_t c) {
    const bool removed =
        (c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
    if (removed) return;
    const bool space = c == 0x09 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 ||
                       (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF ||
                       c == 0xFFFD;
    append_utf8(out, space ? U' ' : c);
  });
}

// Upper case after Unicode 15.0, where Debian 12's ICU ends, up to 17.0, which Rust's to_lowercase knows.
struct CaseRange {
  char32_t first, last, lower;
};
constexpr CaseRange kNewerCases[] = {{0x1C89, 0x1C89, 0x1C8A},   {0xA7CB, 0xA7CB, 0x264},  {0xA7CC, 0xA7CC, 0xA7CD},
                                     {0xA7CE, 0xA7CE, 0xA7CF},   {0xA7D2, 0xA7D2, 0xA7D3}, {0xA7D4, 0xA7D4, 0xA7D5},
                                     {0xA7DA, 0xA7DA, 0xA7DB},   {0xA7DC, 0xA7DC, 0x19B},  {0x10D50, 0x10D65, 0x10D70},
                                     {0x16EA0, 0x16EB8, 0x16EBB}};

// Each character by itself, as Hugging Face does: no final sigma.
void append_lower(std::string& out, char32_t c) {
  for (const CaseRange& range : kNewerCases) {
    if (c >= range.first && c <= range.last) return append_utf8(out, range.lower + (c - range.first));
  }
  append_utf8(out, static_cast<char32_t>(u_tolower(static_cast<UChar32>(c))));
  if (c == 0x130) append_utf8(out, 0x307);  // the only one that becomes two: i and the dot above
}

}  // namespace

Normalizer::Normalizer(const nlohmann::json& section, const std::string& origin) {
  if (!section.is_null()) add(section, origin + ": normalizer", 0);
}

void Normalizer::add(const nlohmann::json& section, const std::string& where, int depth) {
  if (depth > kMaxSectionDepth) throw base::Error(base::kInvalidModel, where + ": nested too deeply");
  const std::string type = string_field(section, "type", where);
  const auto add_form = [&](Instance instance) {
    UErrorCode status = U_ZERO_ERROR;
    const icu::Normalizer2* normalizer = instance(status);
    if (U_FAILURE(status))
      throw base::Error(base::kIo, where + ": ICU has no data for " + type, "install libicu's data");
    auto known = std::make_shared<const icu::FilteredNormalizer2>(*normalizer, known_characters());
    steps_.emplace_back([known](const std::string& text) { return normalize_with(*known, text); });
  };
  if (type == "Sequence") {
    const auto& list = list_field(section, "normalizers", where);
    for (size_t index = 0; index < list.size(); ++index) {
      add(list[index], where + ".normalizers[" + std::to_string(index) + "]", depth + 1);
    }
  } else if (type == "NFC") {
    add_form(&icu::Normalizer2::getNFCInstance);
  } else if (type == "NFD") {
    add_form(&icu::Normalizer2::getNFDInstance);
  } else if (type == "NFKC") {
    add_form(&icu::Normalizer2::getNFKCInstance);
  } else if (type == "NFKD") {
    add_form(&icu::Normalizer2::getNFKDInstance);
  } else if (type == "Lowercase") {
    steps_.emplace_back([](const std::string& text) { return map_characters(text, &append_lower); });
  } else if (type == "Prepend") {
    const std::string prefix = string_field(section, "prepend", where);
    steps_.emplace_back([prefix](const std::string& text) { return text.empty() ? text : prefix + text; });
  } else if (type == "Replace") {
    const auto& pattern = field(section, "pattern", where);
    const std::string content = string_field(section, "content", where);
    if (pattern.is_object() && pattern.contains("String")) {
      const std::string literal = string_field(pattern, "String", where + ".pattern");
      if (literal.empty()) throw bad_field(where + ".pattern.String", "a text that is not empty");
      steps_.emplace_back([=](const std::string& text) { return replace_literal(text, literal, content); });
    } else {
      auto regex = std::make_shared<Regex>(string_field(pattern, "Regex", where + ".pattern"), where + ".pattern");
      steps_.emplace_back(
          [=](const std::string& text) { return replace_matches(text, regex->find_all(text), content); });
    }
  } else if (type == "Strip") {
    const bool left = bool_field(section, "strip_left", true, where);
    const bool right = bool_field(section, "strip_right", true, where);
    steps_.emplace_back([=](const std::string& text) { return strip(text, left, right); });
  } else if (type == "StripAccents") {
    steps_.emplace_back([](const std::string& text) {
      return map_characters(text, [](std::string& out, char32_t c) {
        const bool mark = ((U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_M_MASK) != 0 && c != 0x111C9) ||
                          c == 0x1CF2 || c == 0x1CF3;  // what the three were in Unicode 9.0
        if (!mark || !known_characters().contains(static_cast<UChar32>(c))) append_utf8(out, c);
      });
    });
  } else if (type == "Precompiled") {
    const std::string key = where + ".precompiled_charsmap";
    const auto& value = field(section, "precompiled_charsmap", where);
    const std::string table =
        value.is_null() ? "" : from_base64(string_field(section, "precompiled_charsmap", where), key);
    auto precompiled = std::make_shared<const Precompiled>(table, key);
    steps_.emplace_back([precompiled](const std::string& text) { return precompiled->apply(text); });
  } else if (type == "Nmt") {
    steps_.emplace_back([](const std::string& text) { return nmt(text); });
  } else {
    throw unsupported_type(where, type, kKnown);
  }
}

std::string Normalizer::apply(std::string text) const {
  for (const auto& step : steps_) text = step(std::move(text));
  return text;
}

}  // namespace slipway::text
