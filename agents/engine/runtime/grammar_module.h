// The border between the runtime and libslipway_grammar.so, which alone links XGrammar. No exception crosses it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "agents/engine/runtime/constraint.h"

namespace slipway::runtime {

enum class GrammarKind { kJsonSchema, kRegex, kEbnf, kStructuralTag };

struct GrammarVocabulary {
  std::vector<std::string> tokens;   // the bytes of each token; empty: it never comes but as a stop token
  int64_t size = 0;                  // of the model's logits, at least that of `tokens`
  std::vector<int32_t> stop_tokens;  // that end an output once its grammar allows an end
};

class GrammarModule {
 public:
  virtual ~GrammarModule() = default;
  // Null with the reason in `failure`. Any thread.
  virtual std::shared_ptr<TokenConstraint> compile(GrammarKind kind, const std::string& text,
                                                   std::string& failure) noexcept = 0;
};

// What the module exports, as kMakeGrammarModule. Null with the reason in `failure`.
using MakeGrammarModule = GrammarModule*(const GrammarVocabulary& vocabulary, std::string& failure);
inline constexpr char kMakeGrammarModule[] = "slipway_make_grammar_module";

}  // namespace slipway::runtime
