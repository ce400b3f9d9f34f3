// Byte-pair encoding over a vocabulary with ranked merges, as Hugging Face's BPE model. Used by pipeline.cpp.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "agents/engine/text/definition.h"

namespace slipway::text {

// How the pieces that are given to the model spell text.
enum class Alphabet { kCharacters, kBytes };

// Immutable but for a bounded cache of words. Any thread.
class Bpe {
 public:
  // Keeps references to nothing. Throws base::Error INVALID_MODEL when a merge leads out of the vocabulary.
  Bpe(const TokenizerDefinition& definition, Alphabet alphabet);
  ~Bpe();

  // Appends the ids of one pre-tokenized piece. With Alphabet::kBytes, `piece` is plain bytes.
  void encode(std::string_view piece, std::vector<TokenId>& out) const;

 private:
  struct Merge {
    uint64_t key;  // left id and right id; kEmpty where the slot is free
    int32_t rank;
    TokenId result;
  };
  struct Cache;

  const Merge* find_merge(TokenId left, TokenId right) const;
  void insert_merge(TokenId left, TokenId right, int32_t rank, TokenId result);
  void initial_symbols(std::string_view piece, std::vector<TokenId>& symbols) const;
  void merge_short(std::vector<TokenId>& symbols) const;
  void merge_long(std::vector<TokenId>& symbols) const;

  Alphabet alphabet_;
  BpeOptions options_;
  TokenId unk_ = -1;
  std::array<TokenId, 256> byte_ids_{};  // of single bytes: by alphabet, or of <0xNN> for the fallback; -1 if none
  std::unordered_map<char32_t, TokenId> character_ids_;
  std::unordered_map<std::string, TokenId> whole_pieces_;  // only with ignore_merges
  std::vector<Merge> merges_;                              // open addressing, a power of two long
  std::unique_ptr<Cache> cache_;
};

}  // namespace slipway::text
