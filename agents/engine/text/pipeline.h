// The tokenizer behind the Tokenizer interface: normalizer, added tokens, pre-tokenizer, model, post-processor,
// decoder. Made by make_tokenizer(); save_tokenizer.cpp reads its definition back.
#pragma once

#include <mutex>
#include <unordered_map>
#include <unordered_set>

#include "agents/engine/text/added_tokens.h"
#include "agents/engine/text/decoder.h"
#include "agents/engine/text/definition.h"
#include "agents/engine/text/normalizer.h"
#include "agents/engine/text/post_processor.h"
#include "agents/engine/text/pre_tokenizer.h"
#include "agents/engine/text/tokenizer.h"
#include "agents/engine/text/word_cache.h"
#include "agents/engine/text/word_model.h"

namespace slipway::text {

class Pipeline final : public Tokenizer {
 public:
  explicit Pipeline(TokenizerDefinition definition);

  std::vector<TokenId> encode(std::string_view text, bool add_special, bool parse_special) const override;
  std::string decode(std::span<const TokenId> ids, bool skip_special) const override;
  std::string token_bytes(TokenId id) const override;
  std::string id_to_token(TokenId id) const override;
  std::optional<TokenId> token_to_id(std::string_view token) const override;
  int32_t vocab_size() const override { return static_cast<int32_t>(tokens_.size()); }
  bool is_special(TokenId id) const override { return special_ids_.contains(id); }
  std::optional<TokenId> bos_id() const override { return named_id("bos_token"); }
  std::optional<TokenId> eos_id() const override { return named_id("eos_token"); }
  std::optional<TokenId> pad_id() const override { return named_id("pad_token"); }
  const std::string& chat_template() const override { return definition_.chat_template; }
  std::string fingerprint() const override;
  const std::string& stripped_prefix() const override { return decoder_.stripped_prefix(); }

  const TokenizerDefinition& definition() const { return definition_; }

 private:
  bool has(TokenId id) const;
  const std::string& spelling(TokenId id) const;
  std::optional<TokenId> named_id(const char* key) const;
  void complete_added_tokens();
  void encode_plain(std::string_view text, bool at_start, WordCaches::Lease& cache, std::vector<TokenId>& out) const;
  void encode_word(std::string_view word, WordCaches::Lease& cache, std::vector<TokenId>& out) const;

  TokenizerDefinition definition_;
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  std::unique_ptr<const WordModel> model_;
  PostProcessor post_processor_;
  Decoder decoder_;
  AddedTokenMatcher raw_matcher_;         // before normalization
  AddedTokenMatcher normalized_matcher_;  // after it
  std::vector<std::string> tokens_;       // by id, added ones included; empty where an id is not in use
  std::unordered_map<std::string_view, TokenId> ids_;
  std::unordered_set<TokenId> special_ids_;
  mutable WordCaches caches_;
  mutable std::once_flag fingerprint_once_;
  mutable std::string fingerprint_;
};

}  // namespace slipway::text
