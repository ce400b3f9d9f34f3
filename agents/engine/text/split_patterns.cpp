#include "agents/engine/text/split_patterns.h"

#include <unicode/uchar.h>

#include <array>
#include <utility>

#include "agents/engine/text/newer_characters.h"
#include "agents/engine/text/unicode.h"

namespace slipway::text {

namespace {

enum Class : uint8_t { kOther = 0, kLetter = 1, kNumber = 2, kSpace = 3 };

Class class_of_code_point(char32_t code_point) {
  if (is_unicode_space(code_point)) return kSpace;
  const uint32_t mask = U_GET_GC_MASK(static_cast<UChar32>(older_alike(code_point)));
  return (mask & U_GC_L_MASK) != 0 ? kLetter : (mask & U_GC_N_MASK) != 0 ? kNumber : kOther;
}

constexpr size_t kTableSize = 0x10000;

// Of the first 65,536 code points; ICU is asked for the others.
const std::array<Class, kTableSize>& class_table() {
  static const auto table = [] {
    std::array<Class, kTableSize> out{};
    for (size_t code_point = 0; code_point < kTableSize; ++code_point)
      out[code_point] = class_of_code_point(static_cast<char32_t>(code_point));
    return out;
  }();
  return table;
}

// A place in the text and what stands there.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : text_(text), table_(class_table()) { look(); }

  bool done() const { return position_ >= text_.size(); }
  size_t position() const { return position_; }
  Class kind() const { return kind_; }
  bool is(char c) const { return !done() && text_[position_] == c; }
  bool is_newline() const { return is('\n') || is('\r'); }

  void next() {
    position_ += length_;
    look();
  }
  void go(size_t position) {
    position_ = position;
    look();
  }
  // Steps over all characters of a class; true when there was one.
  bool skip(Class kind) {
    const size_t begin = position_;
    while (!done() && kind_ == kind) next();
    return position_ > begin;
  }

 private:
  void look() {
    if (done()) return;
    const auto byte = static_cast<unsigned char>(text_[position_]);
    if (byte < 0x80) {
      kind_ = table_[byte];
      length_ = 1;
      return;
    }
    size_t end = position_;
    const char32_t code_point = next_code_point(text_, end);
    length_ = end - position_;
    kind_ = code_point < kTableSize ? table_[code_point] : class_of_code_point(code_point);
  }

  std::string_view text_;
  const std::array<Class, kTableSize>& table_;
  size_t position_ = 0;
  size_t length_ = 0;
  Class kind_ = kOther;
};

// Bytes of an English contraction ('s, 't, 're, 've, 'm, 'll, 'd) at `position`, or 0. Without regard to case, the long
// s is an s, as Unicode folds it.
size_t contraction(std::string_view text, size_t position, bool any_case) {
  if (text[position] != '\'' || position + 1 >= text.size()) return 0;
  const auto lower = [&](size_t at) -> char {
    if (at >= text.size()) return 0;
    const char c = text[at];
    return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  };
  if (any_case && text.substr(position + 1, 2) == "\xC5\xBF") return 3;
  const char first = lower(position + 1), second = lower(position + 2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  if ((first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l')) return 3;
  return 0;
}

// \s+(?!\S)|\s+ behind `begin`, where the cursor stands on the first character behind the spaces: when something
// follows them, the last one is left to it.
size_t spaces_end(std::string_view text, size_t begin, const Cursor& cursor) {
  if (cursor.done()) return cursor.position();
  size_t last = cursor.position();
  previous_code_point(text, last);
  return last > begin ? last : cursor.position();
}

void scan_gpt2(std::string_view text, std::vector<ByteRange>& matches) {
  for (Cursor cursor(text); !cursor.done();) {
    const size_t begin = cursor.position();
    if (const size_t length = contraction(text, begin, false); length > 0) {
      cursor.go(begin + length);
    } else {
      if (cursor.is(' ')) cursor.next();
      if (cursor.done() || !(cursor.skip(kLetter) || cursor.skip(kNumber) || cursor.skip(kOther))) {
        cursor.skip(kSpace);
        cursor.go(spaces_end(text, begin, cursor));
      }
    }
    matches.emplace_back(begin, cursor.position());
  }
}

// The pattern of Llama 3, with as many digits together as it or another says.
template <int kDigits>
void scan_llama3(std::string_view text, std::vector<ByteRange>& matches) {
  for (Cursor cursor(text); !cursor.done();) {
    const size_t begin = cursor.position();
    if (const size_t length = contraction(text, begin, true); length > 0) {
      cursor.go(begin + length);
      matches.emplace_back(begin, cursor.position());
      continue;
    }
    const Class first = cursor.kind();
    if (first == kLetter) {
      cursor.skip(kLetter);
    } else if (first == kNumber) {
      for (int digits = 0; digits < kDigits && !cursor.done() && cursor.kind() == kNumber; ++digits) cursor.next();
    } else {
      // [^\r\n\p{L}\p{N}]?\p{L}+ with its optional first character.
      const bool newline = cursor.is_newline(), blank = cursor.is(' ');
      cursor.next();
      const bool letters = !newline && !cursor.done() && cursor.skip(kLetter);
      if (!letters) {
        const bool others = first == kOther || (blank && !cursor.done() && cursor.kind() == kOther);
        if (others) {
          cursor.skip(kOther);
          while (cursor.is_newline()) cursor.next();
        } else {
          // Spaces: \s*[\r\n]+ takes them up to the last newline among them.
          size_t newlines_end = newline ? cursor.position() : 0;
          while (!cursor.done() && cursor.kind() == kSpace) {
            const bool is_newline = cursor.is_newline();
            cursor.next();
            if (is_newline) newlines_end = cursor.position();
          }
          cursor.go(newlines_end > 0 ? newlines_end : spaces_end(text, begin, cursor));
        }
      }
    }
    matches.emplace_back(begin, cursor.position());
  }
}

constexpr std::pair<std::string_view, Scanner> kScanners[] = {
    {kGpt2Pattern, &scan_gpt2},
    {kLlama3Pattern, &scan_llama3<3>},
    {kQwen2Pattern, &scan_llama3<1>},
};

}  // namespace

Scanner find_scanner(std::string_view pattern) {
  for (const auto& [known, scanner] : kScanners) {
    if (known == pattern) return scanner;
  }
  return nullptr;
}

void scan_digits(std::string_view text, std::vector<ByteRange>& matches) {
  const auto& table = class_table();
  for (size_t position = 0; position < text.size();) {
    const auto byte = static_cast<unsigned char>(text[position]);
    if (byte < 0x80) {
      if (table[byte] == kNumber) matches.emplace_back(position, position + 1);
      ++position;
      continue;
    }
    const size_t begin = position;
    const char32_t code_point = next_code_point(text, position);
    const Class kind = code_point < kTableSize ? table[code_point] : class_of_code_point(code_point);
    // Rust's own classes are a version ahead: the digits of Tolong Siki and the Chinese rod numerals of Unicode 17.0.
    const bool newest =
        (code_point >= 0x11DE0 && code_point <= 0x11DE9) || (code_point >= 0x16FF4 && code_point <= 0x16FF6);
    if (kind == kNumber || newest) matches.emplace_back(begin, position);
  }
}

void scan_words(std::string_view text, std::vector<ByteRange>& matches) {
  enum Kind : uint8_t { kBlank, kWord, kSign };
  Kind last = kBlank;
  for (size_t position = 0; position < text.size();) {
    const size_t begin = position;
    const char32_t code_point = older_alike(next_code_point(text, position));
    const Kind kind = is_unicode_space(code_point) ? kBlank : is_word_character(code_point) ? kWord : kSign;
    if (kind != kBlank && kind == last) {
      matches.back().second = position;
    } else if (kind != kBlank) {
      matches.emplace_back(begin, position);
    }
    last = kind;
  }
}

}  // namespace slipway::text
