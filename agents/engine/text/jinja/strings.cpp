// Python's string operations, see strings.h.
#include "agents/engine/text/jinja/strings.h"

#include <unicode/locid.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <algorithm>

#include "agents/engine/text/unicode.h"

namespace slipway::text::jinja {

bool is_python_space(char32_t c) { return (c >= 0x1C && c <= 0x1F) || is_unicode_space(c); }

namespace {

bool in_set(char32_t wanted, std::string_view characters) {
  if (characters.empty()) return is_python_space(wanted);
  for (size_t position = 0; position < characters.size();) {
    if (next_code_point(characters, position) == wanted) return true;
  }
  return false;
}

bool is_ascii(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

std::string from_icu(const icu::UnicodeString& text) {
  std::string out;
  text.toUTF8String(out);
  return out;
}

}  // namespace

std::string_view strip_left(std::string_view text, std::string_view characters) {
  while (!text.empty()) {
    size_t next = 0;
    if (!in_set(next_code_point(text, next), characters)) break;
    text.remove_prefix(next);
  }
  return text;
}

std::string_view strip_right(std::string_view text, std::string_view characters) {
  while (!text.empty()) {
    size_t previous = text.size();
    if (!in_set(previous_code_point(text, previous), characters)) break;
    text = text.substr(0, previous);
  }
  return text;
}

std::string_view strip(std::string_view text, std::string_view characters) {
  return strip_left(strip_right(text, characters), characters);
}

std::string to_upper(const std::string& text) {
  if (is_ascii(text)) {
    std::string out = text;
    std::transform(out.begin(), out.end(), out.begin(),
                   [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
    return out;
  }
  return from_icu(icu::UnicodeString::fromUTF8(text).toUpper(icu::Locale::getRoot()));
}

std::string to_lower(const std::string& text) {
  if (is_ascii(text)) {
    std::string out = text;
    std::transform(out.begin(), out.end(), out.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    return out;
  }
  return from_icu(icu::UnicodeString::fromUTF8(text).toLower(icu::Locale::getRoot()));
}

std::string to_title(const std::string& text) {
  std::string out;
  bool in_word = false;
  for (size_t position = 0; position < text.size();) {
    const auto c = static_cast<UChar32>(next_code_point(text, position));
    append_utf8(out, static_cast<char32_t>(in_word ? u_tolower(c) : u_totitle(c)));
    in_word = u_isULowercase(c) != 0 || u_isUUppercase(c) != 0 || u_istitle(c) != 0;
  }
  return out;
}

std::string to_capitalized(const std::string& text) {
  if (text.empty()) return text;
  size_t position = 0;
  const char32_t first = next_code_point(text, position);
  std::string out;
  append_utf8(out, static_cast<char32_t>(u_totitle(static_cast<UChar32>(first))));
  return out + to_lower(text.substr(position));
}

std::string escape_html(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out.push_back(c);
    }
  }
  return out;
}

std::string replace_all(const std::string& text, const std::string& from, const std::string& to, int64_t count) {
  std::string out;
  size_t position = 0;
  if (from.empty()) {  // between all characters
    for (; count != 0 && position <= text.size(); --count) {
      out += to;
      if (position == text.size()) return out;
      const size_t length = utf8_length(static_cast<unsigned char>(text[position]));
      out.append(text, position, length);
      position += length;
    }
    return position < text.size() ? out + text.substr(position) : out;
  }
  for (; count != 0; --count) {
    const size_t found = text.find(from, position);
    if (found == std::string::npos) break;
    out.append(text, position, found - position);
    out += to;
    position = found + from.size();
  }
  return out + text.substr(position);
}

namespace {

std::vector<std::string> split_spaces(std::string_view text, int64_t max_splits, bool from_right) {
  std::vector<std::string> out;
  if (from_right) {
    text = strip_right(text);
    while (!text.empty()) {
      if (max_splits >= 0 && static_cast<int64_t>(out.size()) == max_splits) {
        out.emplace_back(text);
        break;
      }
      size_t begin = text.size();
      while (begin > 0) {
        size_t previous = begin;
        if (is_python_space(previous_code_point(text, previous))) break;
        begin = previous;
      }
      out.emplace_back(text.substr(begin));
      text = strip_right(text.substr(0, begin));
    }
    std::reverse(out.begin(), out.end());
    return out;
  }
  text = strip_left(text);
  while (!text.empty()) {
    if (max_splits >= 0 && static_cast<int64_t>(out.size()) == max_splits) {
      out.emplace_back(text);
      break;
    }
    size_t end = 0;
    while (end < text.size()) {
      size_t next = end;
      if (is_python_space(next_code_point(text, next))) break;
      end = next;
    }
    out.emplace_back(text.substr(0, end));
    text = strip_left(text.substr(end));
  }
  return out;
}

}  // namespace

std::vector<std::string> split(const std::string& text, const std::string& separator, int64_t max_splits,
                               bool from_right) {
  if (separator.empty()) return split_spaces(text, max_splits, from_right);
  std::vector<std::string> out;
  if (from_right) {
    size_t end = text.size();
    while (max_splits != 0) {
      if (end < separator.size()) break;
      const size_t found = text.rfind(separator, end - separator.size());
      if (found == std::string::npos) break;
      out.push_back(text.substr(found + separator.size(), end - found - separator.size()));
      end = found;
      --max_splits;
    }
    out.push_back(text.substr(0, end));
    std::reverse(out.begin(), out.end());
    return out;
  }
  size_t position = 0;
  while (max_splits != 0) {
    const size_t found = text.find(separator, position);
    if (found == std::string::npos) break;
    out.push_back(text.substr(position, found - position));
    position = found + separator.size();
    --max_splits;
  }
  out.push_back(text.substr(position));
  return out;
}

std::vector<std::string> split_lines(const std::string& text, bool keep_ends) {
  std::vector<std::string> out;
  size_t begin = 0;
  for (size_t position = 0; position < text.size();) {
    const size_t end = position;
    const char32_t c = next_code_point(text, position);
    const bool breaks = (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
    if (!breaks) continue;
    if (c == '\r' && position < text.size() && text[position] == '\n') ++position;
    out.push_back(text.substr(begin, (keep_ends ? position : end) - begin));
    begin = position;
  }
  if (begin < text.size()) out.push_back(text.substr(begin));
  return out;
}

std::vector<std::string> characters_of(const std::string& text) {
  std::vector<std::string> out;
  for (size_t position = 0; position < text.size();) {
    const size_t begin = position;
    next_code_point(text, position);
    out.push_back(text.substr(begin, position - begin));
  }
  return out;
}

}  // namespace slipway::text::jinja
