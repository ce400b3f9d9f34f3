// Encoding and decoding, see pipeline.h.
#include "agents/engine/text/pipeline.h"

#include <algorithm>
#include <bit>
#include <span>

#include "agents/engine/text/bpe.h"
#include "agents/engine/text/sentence_piece.h"
#include "agents/engine/text/unicode.h"
#include "agents/engine/text/unigram.h"
#include "backend/base/error.h"
#include "backend/base/sha256.h"

namespace slipway::text {

namespace {

std::unique_ptr<const WordModel> make_model(const TokenizerDefinition& definition, Alphabet alphabet) {
  if (definition.model == ModelType::kBpe) return std::make_unique<const Bpe>(definition, alphabet);
  if (alphabet == Alphabet::kBytes) {
    throw base::Error(base::kUnsupported, definition.origin + ": a unigram model over bytes is not supported",
                      "known: unigram models over characters, BPE over either");
  }
  return std::make_unique<const Unigram>(definition);
}

}  // namespace

Pipeline::Pipeline(TokenizerDefinition definition)
    : definition_(std::move(definition)),
      normalizer_(definition_.normalizer, definition_.origin),
      pre_tokenizer_(definition_.pre_tokenizer, definition_.origin),
      model_(make_model(definition_, pre_tokenizer_.alphabet())),
      post_processor_(parse_post_processor(definition_.post_processor, definition_.origin)),
      decoder_(definition_.decoder, definition_.origin) {
  complete_added_tokens();
  tokens_ = definition_.tokens;
  for (const AddedToken& token : definition_.added_tokens) {
    const auto index = static_cast<size_t>(token.id);
    if (index >= tokens_.size()) tokens_.resize(index + 1);
    tokens_[index] = token.content;
    if (token.special) special_ids_.insert(token.id);
    if (token.normalized) {
      normalized_matcher_.add(normalizer_.apply(token.content), &token);
    } else {
      raw_matcher_.add(token.content, &token);
    }
  }
  // Added tokens first: where a text stands for two ids, the added one counts.
  ids_.reserve(tokens_.size());
  for (const AddedToken& token : definition_.added_tokens)
    ids_.emplace(tokens_[static_cast<size_t>(token.id)], token.id);
  for (size_t id = 0; id < tokens_.size(); ++id) {
    if (!tokens_[id].empty()) ids_.emplace(tokens_[id], static_cast<TokenId>(id));
  }
  for (const auto* list : {&post_processor_.prefix, &post_processor_.suffix}) {
    for (const TokenId id : *list) spelling(id);  // throws where there is no such token
  }
}

// bos_token and its like are special even where tokenizer.json says nothing of it, as in Transformers.
void Pipeline::complete_added_tokens() {
  auto& added = definition_.added_tokens;
  std::unordered_map<std::string, size_t> known;
  for (size_t index = 0; index < added.size(); ++index) known.emplace(added[index].content, index);
  std::unordered_map<std::string_view, TokenId> vocabulary;
  for (size_t id = 0; id < definition_.tokens.size(); ++id)
    vocabulary.emplace(definition_.tokens[id], static_cast<TokenId>(id));
  for (const auto& [key, content] : definition_.special_tokens) {
    const auto found = known.find(content);
    if (found != known.end()) {
      added[found->second].special = true;
      continue;
    }
    const auto in_vocabulary = vocabulary.find(content);
    if (content.empty() || in_vocabulary == vocabulary.end()) continue;
    AddedToken token;
    token.id = in_vocabulary->second;
    token.content = content;
    token.special = true;
    known.emplace(content, added.size());
    added.push_back(std::move(token));
  }
  std::sort(added.begin(), added.end(), [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
}

void Pipeline::encode_word(std::string_view word, WordCaches::Lease& cache, std::vector<TokenId>& out) const {
  if (!cache) {
    model_->encode(word, out);
  } else if (!cache->get(word, out)) {
    const size_t before = out.size();
    model_->encode(word, out);
    cache->put(std::span(out).subspan(before));
  }
}

void Pipeline::encode_plain(std::string_view text, bool at_start, WordCaches::Lease& cache,
                            std::vector<TokenId>& out) const {
  Pieces pieces;
  pieces.at_start = at_start;
  pieces.views.push_back(text);
  pre_tokenizer_.split(pieces);
  const bool cut_at_spaces = model_->spaces_begin_tokens();
  for (std::string_view piece : pieces.views) {
    // Before each space mark that follows another character; runs of marks stay together.
    while (cut_at_spaces) {
      size_t cut = 0;
      while (piece.compare(cut, 3, kSpaceMark) == 0) cut += 3;
      cut = piece.find(kSpaceMark, cut);
      if (cut == std::string_view::npos) break;
      encode_word(piece.substr(0, cut), cache, out);
      piece.remove_prefix(cut);
    }
    encode_word(piece, cache, out);
  }
}

std::vector<TokenId> Pipeline::encode(std::string_view text, bool add_special, bool parse_special) const {
  std::string repaired;
  if (!is_valid_utf8(text)) {
    repaired = repair_utf8(text);
    text = repaired;
  }
  std::vector<TokenId> out;
  out.reserve(text.size() / 3 + 2);
  WordCaches::Lease cache = caches_.lend();
  if (add_special) out = post_processor_.prefix;
  for (const auto& stretch : raw_matcher_.cut(text, parse_special)) {
    if (stretch.token != nullptr) {
      out.push_back(stretch.token->id);
      continue;
    }
    const bool starts_text = stretch.text.data() == text.data();
    std::string normalized;
    std::string_view plain = stretch.text;
    if (!normalizer_.changes_nothing()) {
      normalized = normalizer_.apply(std::string(plain));
      plain = normalized;
    }
    for (const auto& inner : normalized_matcher_.cut(plain, parse_special)) {
      if (inner.token != nullptr) {
        out.push_back(inner.token->id);
      } else {
        encode_plain(inner.text, starts_text && inner.text.data() == plain.data(), cache, out);
      }
    }
  }
  if (add_special) out.insert(out.end(), post_processor_.suffix.begin(), post_processor_.suffix.end());
  return out;
}

bool Pipeline::has(TokenId id) const {
  return id >= 0 && static_cast<size_t>(id) < tokens_.size() && !tokens_[static_cast<size_t>(id)].empty();
}

const std::string& Pipeline::spelling(TokenId id) const {
  if (!has(id)) {
    throw base::Error(
        base::kInvalidData, "token id " + std::to_string(id) + " is not in the vocabulary of " + definition_.origin,
        "the text was tokenized with another vocabulary, or the model's vocabulary is larger than its tokenizer");
  }
  return tokens_[static_cast<size_t>(id)];
}

std::string Pipeline::decode(std::span<const TokenId> ids, bool skip_special) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const TokenId id : ids) {
    const std::string& token = spelling(id);
    if (!skip_special || !is_special(id)) tokens.push_back(token);
  }
  return decoder_.decode(std::move(tokens));
}

std::string Pipeline::token_bytes(TokenId id) const { return has(id) ? decoder_.bytes_of(spelling(id)) : ""; }

std::string Pipeline::id_to_token(TokenId id) const { return spelling(id); }

std::optional<TokenId> Pipeline::token_to_id(std::string_view token) const {
  const auto found = ids_.find(token);
  return found == ids_.end() ? std::nullopt : std::optional<TokenId>(found->second);
}

std::optional<TokenId> Pipeline::named_id(const char* key) const {
  const auto found = definition_.special_tokens.find(key);
  return found == definition_.special_tokens.end() ? std::nullopt : token_to_id(found->second);
}

std::string Pipeline::fingerprint() const {
  std::call_once(fingerprint_once_, [this] {
    // Length before every text, so that no two vocabularies spell the same stream.
    base::Sha256 hash;
    const auto number = [&](uint64_t value) {
      unsigned char bytes[8];
      for (size_t index = 0; index < 8; ++index) bytes[index] = static_cast<unsigned char>(value >> (8 * index));
      hash.update(bytes, sizeof(bytes));
    };
    const auto text = [&](std::string_view value) {
      number(value.size());
      hash.update(value);
    };
    number(tokens_.size());
    for (size_t id = 0; id < tokens_.size(); ++id) {
      text(tokens_[id]);
      number(is_special(static_cast<TokenId>(id)) ? 1 : 0);
    }
    number(definition_.merges.size());
    for (const auto& [left, right] : definition_.merges) {
      number(static_cast<uint64_t>(left));
      number(static_cast<uint64_t>(right));
    }
    for (const double score : definition_.scores) number(std::bit_cast<uint64_t>(score));
    text(definition_.chat_template);
    fingerprint_ = hash.hex();
  });
  return fingerprint_;
}

std::unique_ptr<const Tokenizer> make_tokenizer(TokenizerDefinition definition) {
  return std::make_unique<const Pipeline>(std::move(definition));
}

}  // namespace slipway::text
