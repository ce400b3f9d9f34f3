// The unigram language model: of all ways to cut a text into tokens, the one with the best sum of scores. As Hugging
// Face's Unigram model. Used by pipeline.cpp.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "agents/engine/text/definition.h"
#include "agents/engine/text/word_model.h"

namespace slipway::text {

class Unigram final : public WordModel {
 public:
  // Keeps references to nothing. Throws base::Error INVALID_MODEL when scores are missing or no numbers.
  explicit Unigram(const TokenizerDefinition& definition);

  void encode(std::string_view piece, std::vector<TokenId>& out) const override;
  bool spaces_begin_tokens() const override { return spaces_begin_tokens_; }

 private:
  struct Node {
    TokenId id = -1;  // of the token that ends here
    double score = 0;
  };

  int32_t child(int32_t node, unsigned char byte) const;

  std::vector<Node> nodes_;                                // a trie over the tokens' bytes; 0 is its root
  std::array<int32_t, 256> first_{};                       // the root's children, 0 for none
  std::unordered_map<uint64_t, int32_t> children_;         // of the others, by node and byte
  std::unordered_map<std::string_view, TokenId> by_text_;  // into texts_
  std::vector<std::string> texts_;
  std::array<TokenId, 256> byte_ids_{};  // of <0xNN>, -1 where there is none
  bool byte_fallback_ = false;
  bool spaces_begin_tokens_ = false;
  TokenId unk_ = -1;
  double unk_score_ = 0;
};

}  // namespace slipway::text
