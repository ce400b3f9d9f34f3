// The lexer, see lexer.h. Rules: jinja.palletsprojects.com, "Whitespace Control"; checked against Jinja2 itself.
#include "agents/engine/text/jinja/lexer.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <string_view>

#include "agents/engine/text/jinja/strings.h"
#include "agents/engine/text/unicode.h"
#include "backend/base/error.h"

namespace slipway::text::jinja {

void syntax_error(const std::string& message, int line, int column) {
  throw base::Error(base::kInvalidModel, "chat template, line " + std::to_string(line) + ", column " +
                                             std::to_string(column) + ": " + message);
}

namespace {

std::string normalize_newlines(const std::string& source) {
  std::string out;
  out.reserve(source.size());
  for (size_t index = 0; index < source.size(); ++index) {
    if (source[index] == '\r') {
      if (index + 1 < source.size() && source[index + 1] == '\n') ++index;
      out.push_back('\n');
    } else {
      out.push_back(source[index]);
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

bool is_identifier_start(char32_t c) {
  return c == '_' || u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_XID_START) != 0;
}
bool is_identifier_part(char32_t c) { return u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_XID_CONTINUE) != 0; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

class Lexer {
 public:
  explicit Lexer(const std::string& source) : source_(normalize_newlines(source)) {}

  std::vector<Token> run() {
    while (position_ < source_.size()) lex_text();
    add(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  enum class Tag { kBlock, kVariable, kComment };

  bool starts_with(std::string_view text, size_t at) const { return source_.compare(at, text.size(), text) == 0; }
  char at(size_t index) const { return index < source_.size() ? source_[index] : '\0'; }

  // Line and column of position_, counted on from the last call.
  void locate() {
    for (; located_ < position_; ++located_) {
      if (source_[located_] == '\n') {
        ++line_;
        column_ = 1;
      } else {
        ++column_;
      }
    }
  }

  void add(TokenKind kind, std::string text) {
    locate();
    tokens_.push_back({kind, std::move(text), line_, column_});
  }

  [[noreturn]] void error(const std::string& message) {
    locate();
    syntax_error(message, line_, column_);
  }

  // From position_ to the next tag, and the tag.
  void lex_text() {
    size_t begin = position_;
    size_t found = begin;
    Tag tag = Tag::kBlock;
    for (;; ++found) {
      found = source_.find('{', found);
      if (found == std::string::npos) {
        add(TokenKind::kText, source_.substr(begin));
        position_ = source_.size();
        return;
      }
      const char next = at(found + 1);
      if (next == '%') tag = Tag::kBlock;
      if (next == '{') tag = Tag::kVariable;
      if (next == '#') tag = Tag::kComment;
      if (next == '%' || next == '{' || next == '#') break;
    }
    std::string text = source_.substr(begin, found - begin);
    const char sign = at(found + 2);
    if (sign == '-') {
      text = std::string(strip_right(text));
    } else if (sign != '+' && tag != Tag::kVariable) {
      strip_line_begin(text);
    }
    if (!text.empty()) add(TokenKind::kText, std::move(text));
    position_ = found;
    const size_t inner = found + 2 + (sign == '-' || sign == '+' ? 1 : 0);
    if (tag == Tag::kComment) {
      lex_comment(inner);
    } else if (tag == Tag::kVariable) {
      add(TokenKind::kVariableBegin, "");
      position_ = inner;
      lex_expression("}}");
    } else if (!lex_raw(inner)) {
      add(TokenKind::kBlockBegin, "");
      position_ = inner;
      lex_expression("%}");
    }
  }

  // lstrip_blocks: white space between the line's beginning and a block goes.
  void strip_line_begin(std::string& text) const {
    const size_t newline = text.rfind('\n');
    if (newline == std::string::npos && !line_starting_) return;
    const size_t begin = newline == std::string::npos ? 0 : newline + 1;
    if (strip(std::string_view(text).substr(begin)).empty()) text.resize(begin);
  }

  // Behind the end of a block or comment: the white space that its sign takes away.
  void finish_tag(char sign, bool trim_newline) {
    const size_t begin = position_;
    if (sign == '-') {
      position_ += source_.size() - position_ - strip_left(std::string_view(source_).substr(position_)).size();
    } else if (sign != '+' && trim_newline && at(position_) == '\n') {
      ++position_;
    }
    line_starting_ = position_ > begin && source_[position_ - 1] == '\n';
  }

  void lex_comment(size_t inner) {
    const size_t end = source_.find("#}", inner);
    if (end == std::string::npos) error("the comment is not closed");
    const char sign = end > inner ? source_[end - 1] : '\0';
    position_ = end + 2;
    finish_tag(sign, true);
  }

  // {% raw %} ... {% endraw %}. False when the block at hand is another one.
  bool lex_raw(size_t inner) {
    size_t cursor = skip_space(inner);
    if (!starts_with("raw", cursor)) return false;
    cursor = skip_space(cursor + 3);
    char sign = at(cursor);
    if (sign == '-') ++cursor;
    if (!starts_with("%}", cursor)) return false;
    position_ = cursor + 2;
    finish_tag(sign, false);  // trim_blocks does not reach behind {% raw %}
    const size_t body = position_;
    for (size_t found = source_.find("{%", body); found != std::string::npos; found = source_.find("{%", found + 2)) {
      cursor = found + 2;
      const char left_sign = at(cursor);
      if (left_sign == '-' || left_sign == '+') ++cursor;
      cursor = skip_space(cursor);
      if (!starts_with("endraw", cursor)) continue;
      cursor = skip_space(cursor + 6);
      sign = at(cursor);
      if (sign == '-' || sign == '+') ++cursor;
      if (!starts_with("%}", cursor)) continue;
      std::string text = source_.substr(body, found - body);
      if (left_sign == '-') {
        text = std::string(strip_right(text));
      } else if (left_sign != '+') {
        strip_line_begin(text);
      }
      if (!text.empty()) add(TokenKind::kText, std::move(text));
      position_ = cursor + 2;
      finish_tag(sign, true);
      return true;
    }
    error("the raw block is not closed");
  }

  size_t skip_space(size_t cursor) const {
    return source_.size() - strip_left(std::string_view(source_).substr(std::min(cursor, source_.size()))).size();
  }

  void lex_expression(std::string_view closing) {
    std::string brackets;
    for (;;) {
      position_ = skip_space(position_);
      if (position_ >= source_.size()) error("the tag is not closed, expected '" + std::string(closing) + "'");
      if (brackets.empty()) {
        const char sign = at(position_);
        const bool signed_end =
            (sign == '-' || (sign == '+' && closing == "%}")) && starts_with(closing, position_ + 1);
        if (signed_end || starts_with(closing, position_)) {
          add(closing == "%}" ? TokenKind::kBlockEnd : TokenKind::kVariableEnd, "");
          position_ += closing.size() + (signed_end ? 1 : 0);
          finish_tag(signed_end ? sign : '\0', closing == "%}");
          return;
        }
      }
      lex_token(brackets);
    }
  }

  void lex_token(std::string& brackets) {
    const char c = at(position_);
    if (c == '\'' || c == '"') {
      lex_string(c);
    } else if (is_digit(c)) {
      lex_number();
    } else {
      size_t cursor = position_;
      if (is_identifier_start(next_code_point(source_, cursor))) {
        size_t end = cursor;
        while (cursor < source_.size() && is_identifier_part(next_code_point(source_, cursor))) end = cursor;
        add(TokenKind::kName, source_.substr(position_, end - position_));
        position_ = end;
      } else {
        lex_operator(brackets);
      }
    }
  }

  void lex_string(char quote) {
    size_t cursor = position_ + 1;
    while (cursor < source_.size() && source_[cursor] != quote) cursor += source_[cursor] == '\\' ? 2 : 1;
    if (cursor >= source_.size()) error("the string is not closed");
    add(TokenKind::kString, decode_escapes(source_.substr(position_ + 1, cursor - position_ - 1)));
    position_ = cursor + 1;
  }

  void append_digits(std::string& digits, size_t& cursor, bool (*accepts)(char)) const {
    while (accepts(at(cursor)) || (at(cursor) == '_' && accepts(at(cursor + 1)))) {
      if (source_[cursor] != '_') digits.push_back(source_[cursor]);
      ++cursor;
    }
  }

  void lex_number() {
    size_t cursor = position_;
    std::string digits;
    const char base = static_cast<char>(at(cursor + 1) | 0x20);
    if (at(cursor) == '0' && (base == 'x' || base == 'o' || base == 'b')) {
      cursor += 2;
      bool (*accepts)(char) = [](char d) { return is_digit(d) || ((d | 0x20) >= 'a' && (d | 0x20) <= 'f'); };
      if (base == 'o') accepts = [](char d) { return d >= '0' && d <= '7'; };
      if (base == 'b') accepts = [](char d) { return d == '0' || d == '1'; };
      append_digits(digits, cursor, accepts);
      if (digits.empty() || digits.size() > 64) error("a bad number");
      errno = 0;
      const auto number = std::strtoll(digits.c_str(), nullptr, base == 'x' ? 16 : base == 'o' ? 8 : 2);
      if (errno != 0) error("the number is too large");
      add(TokenKind::kInteger, std::to_string(number));
      position_ = cursor;
      return;
    }
    append_digits(digits, cursor, &is_digit);
    bool is_float = false;
    if (at(cursor) == '.' && is_digit(at(cursor + 1))) {
      is_float = true;
      digits.push_back('.');
      ++cursor;
      append_digits(digits, cursor, &is_digit);
    }
    const size_t exponent = cursor + 1 + (at(cursor + 1) == '+' || at(cursor + 1) == '-' ? 1 : 0);
    if ((at(cursor) == 'e' || at(cursor) == 'E') && is_digit(at(exponent))) {
      is_float = true;
      digits.append(source_, cursor, exponent - cursor);
      cursor = exponent;
      append_digits(digits, cursor, &is_digit);
    }
    add(is_float ? TokenKind::kFloat : TokenKind::kInteger, digits);
    position_ = cursor;
  }

  void lex_operator(std::string& brackets) {
    static constexpr std::string_view kTwo[] = {"//", "**", "==", "!=", ">=", "<="};
    static constexpr std::string_view kOne = "+-*/%~[](){}><=.:|,;";
    for (const std::string_view two : kTwo) {
      if (!starts_with(two, position_)) continue;
      add(TokenKind::kOperator, std::string(two));
      position_ += 2;
      return;
    }
    const char c = at(position_);
    if (kOne.find(c) == std::string_view::npos)
      error("unexpected character '" + source_.substr(position_, utf8_length(static_cast<unsigned char>(c))) + "'");
    if (c == '(') brackets.push_back(')');
    if (c == '[') brackets.push_back(']');
    if (c == '{') brackets.push_back('}');
    if (c == ')' || c == ']' || c == '}') {
      if (brackets.empty() || brackets.back() != c) error(std::string("unexpected '") + c + "'");
      brackets.pop_back();
    }
    add(TokenKind::kOperator, std::string(1, c));
    ++position_;
  }

  // Python's "unicode-escape" of a string literal's inside.
  std::string decode_escapes(const std::string& text) {
    std::string out;
    for (size_t index = 0; index < text.size(); ++index) {
      if (text[index] != '\\' || index + 1 >= text.size()) {
        out.push_back(text[index]);
        continue;
      }
      const char c = text[++index];
      const auto hex = [&](size_t digits) {
        char32_t code = 0;
        for (size_t count = 0; count < digits; ++count) {
          const char d = index + 1 < text.size() ? text[index + 1] : '\0';
          const int value = is_digit(d) ? d - '0' : (d | 0x20) >= 'a' && (d | 0x20) <= 'f' ? (d | 0x20) - 'a' + 10 : -1;
          if (value < 0) error("a bad escape in the string");
          code = code * 16 + static_cast<char32_t>(value);
          ++index;
        }
        if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) error("an escape in the string is no character");
        append_utf8(out, code);
      };
      switch (c) {
        case '\n':
          break;
        case 'n':
          out.push_back('\n');
          break;
        case 't':
          out.push_back('\t');
          break;
        case 'r':
          out.push_back('\r');
          break;
        case 'a':
          out.push_back('\a');
          break;
        case 'b':
          out.push_back('\b');
          break;
        case 'f':
          out.push_back('\f');
          break;
        case 'v':
          out.push_back('\v');
          break;
        case '\\':
        case '\'':
        case '"':
          out.push_back(c);
          break;
        case 'x':
          hex(2);
          break;
        case 'u':
          hex(4);
          break;
        case 'U':
          hex(8);
          break;
        default:
          if (c >= '0' && c <= '7') {
            char32_t code = static_cast<char32_t>(c - '0');
            for (int count = 0;
                 count < 2 && index + 1 < text.size() && text[index + 1] >= '0' && text[index + 1] <= '7'; ++count) {
              code = code * 8 + static_cast<char32_t>(text[++index] - '0');
            }
            append_utf8(out, code);
          } else {
            out.push_back('\\');
            out.push_back(c);
          }
      }
    }
    return out;
  }

  std::string source_;
  std::vector<Token> tokens_;
  size_t position_ = 0;
  size_t located_ = 0;
  int line_ = 1;
  int column_ = 1;
  bool line_starting_ = true;
};

}  // namespace

std::vector<Token> tokenize(const std::string& source) { return Lexer(source).run(); }

}  // namespace slipway::text::jinja
