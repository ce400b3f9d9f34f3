// Cuts a template into text and the tokens of its tags, with Jinja's whitespace control as Transformers sets it
// (trim_blocks, lstrip_blocks, no trailing newline). Used by parser.cpp.
#pragma once

#include <string>
#include <vector>

namespace slipway::text::jinja {

enum class TokenKind {
  kText,
  kBlockBegin,
  kBlockEnd,
  kVariableBegin,
  kVariableEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string text;  // a string's is decoded
  int line = 1;
  int column = 1;
};

// Throws base::Error INVALID_MODEL with line and column.
std::vector<Token> tokenize(const std::string& source);

[[noreturn]] void syntax_error(const std::string& message, int line, int column);

}  // namespace slipway::text::jinja
