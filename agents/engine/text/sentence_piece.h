// What SentencePiece vocabularies mean in tokenizer.json's terms, whether they come from GGUF metadata or from a
// SentencePiece .model. Used by read_gguf.cpp, read_sentence_piece.cpp and the models.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "agents/engine/text/definition.h"

namespace slipway::text {

inline constexpr char kSpaceMark[] = "\xE2\x96\x81";  // U+2581, which stands for a space

// A piece's type, the same in SentencePiece's files and in GGUF.
enum PieceType : int64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

struct SentencePieceOptions {
  bool unigram = false;  // else BPE
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = false;
  std::string charsmap;  // the normalizer's compiled table; empty: text stays as it is
};

// Completes `definition`, whose tokens are there: normalizer, pre-tokenizer, decoder and model; merges where
// `with_scores_as_merges` and the model is BPE. `types` and `scores`: one per token.
void describe_sentence_piece(TokenizerDefinition& definition, std::span<const int64_t> types,
                             std::span<const double> scores, const SentencePieceOptions& options,
                             bool with_scores_as_merges);

// Special and user-defined pieces become added tokens; call before describe_sentence_piece().
void add_special_pieces(TokenizerDefinition& definition, std::span<const int64_t> types);

// The post-processor that puts in `bos` before and `eos` behind a text, each -1 for none.
nlohmann::json begin_and_end(const TokenizerDefinition& definition, TokenId bos, TokenId eos);

// Whether no token holds the space mark behind another character.
bool spaces_begin_all(std::span<const std::string> tokens);

}  // namespace slipway::text
