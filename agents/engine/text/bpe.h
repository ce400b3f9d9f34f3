// Byte-pair encoding over a vocabulary with ranked merges, as Hugging Face's BPE model. Used by pipeline.cpp.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "agents/engine/text/definition.h"
#include "agents/engine/text/word_model.h"

namespace slipway::text {

class Bpe final : public WordModel {
 public:
  // Keeps references to nothing. Throws base::Error INVALID_MODEL when a merge leads out of the vocabulary.
  Bpe(const TokenizerDefinition& definition, Alphabet alphabet);

  void encode(std::string_view piece, std::vector<TokenId>& out) const override;
  bool spaces_begin_tokens() const override { return spaces_begin_tokens_; }

 private:
  struct Merge {
    uint64_t key;  // left id and right id; kEmpty where the slot is free
    int32_t rank;
    TokenId result;
  };
  struct ViewHash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };

  const Merge* find_merge(TokenId left, TokenId right) const;
  void insert_merge(TokenId left, TokenId right, int32_t rank, TokenId result);
  template <typename Push>
  void initial_symbols(std::string_view piece, const Push& push) const;
  size_t merge_short(std::span<TokenId> symbols) const;
  void merge_long(std::vector<TokenId>& symbols) const;

  Alphabet alphabet_;
  BpeOptions options_;
  TokenId unk_ = -1;
  bool spaces_begin_tokens_ = false;
  std::array<TokenId, 256> byte_ids_{};  // of single bytes: by alphabet, or of <0xNN> for the fallback; -1 if none
  std::unordered_map<char32_t, TokenId> character_ids_;
  std::unordered_map<std::string, TokenId, ViewHash, std::equal_to<>> whole_pieces_;  // only with ignore_merges
  std::vector<Merge> merges_;  // open addressing, a power of two long
};

}  // namespace slipway::text
