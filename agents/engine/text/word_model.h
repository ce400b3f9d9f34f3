// What turns a pre-tokenized piece into ids: BPE or unigram. Used by pipeline.cpp.
#pragma once

#include <string_view>
#include <vector>

#include "agents/engine/text/tokenizer.h"

namespace slipway::text {

// How the pieces that are given to the model spell text.
enum class Alphabet { kCharacters, kBytes };

// Immutable. Any thread.
class WordModel {
 public:
  virtual ~WordModel() = default;

  // Appends the ids of one piece. With Alphabet::kBytes, `piece` is plain bytes, else UTF-8.
  virtual void encode(std::string_view piece, std::vector<TokenId>& out) const = 0;

  // Whether no token holds SentencePiece's space (U+2581) behind another character, so that a piece may be cut before
  // each such space without changing its ids.
  virtual bool spaces_begin_tokens() const = 0;
};

}  // namespace slipway::text
