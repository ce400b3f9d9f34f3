// Grammars for constrained output: JSON, JSON Schema, regular expressions, choices and EBNF become constraints on the
// next token, by XGrammar. The library is loaded on first use; without it every other thing works.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "agents/engine/runtime/constraint.h"
#include "agents/engine/runtime/grammar_module.h"

namespace slipway::runtime {

class GrammarCompiler {
 public:
  // `vocabulary` is taken when the first grammar is compiled. `folders`: where the module libslipway_grammar.so may be,
  // in this order; beside the program, or in ../lib/slipway from there: module_folders().
  GrammarCompiler(std::vector<std::filesystem::path> folders, std::function<GrammarVocabulary()> vocabulary);
  ~GrammarCompiler();

  // A fresh constraint; the same grammar is compiled once. Any thread; may take seconds for a large schema. Throws
  // base::Error: UNSUPPORTED when the library is not there, INVALID_REQUEST when the grammar is wrong, with the reason.
  std::shared_ptr<TokenConstraint> compile(GrammarKind kind, const std::string& text);

 private:
  void load();  // with mutex_ held

  const std::vector<std::filesystem::path> folders_;
  const std::function<GrammarVocabulary()> vocabulary_;
  std::mutex mutex_;
  std::string failure_;  // why the library is not there
  std::unique_ptr<GrammarModule> module_;
};

// Where an installed or freshly built program keeps the module.
std::vector<std::filesystem::path> module_folders();

}  // namespace slipway::runtime
