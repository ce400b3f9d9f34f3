// The grammar of a choice between texts. Used by serve/ for what requests ask for.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

namespace slipway::runtime {

// EBNF that allows exactly one of these texts.
inline std::string choice_grammar(const std::vector<std::string>& choices) {
  std::string grammar = "root ::= ";
  for (size_t i = 0; i < choices.size(); ++i) {
    grammar += i == 0 ? "\"" : " | \"";
    for (const char c : choices[i]) {
      if (c == '"' || c == '\\') {
        grammar += std::string("\\") + c;
      } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
        char code[8];
        std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(c));
        grammar += code;
      } else {
        grammar += c;
      }
    }
    grammar += '"';
  }
  return grammar + "\n";
}

}  // namespace slipway::runtime
