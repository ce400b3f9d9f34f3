// SentencePiece's compiled normalization tables (nmt_nfkc and the like): a double-array trie of what to replace, and
// the texts to put there. Used by normalizer.cpp. Format:
// https://github.com/google/sentencepiece/blob/master/src/normalizer.cc (precompiled_charsmap)
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace slipway::text {

class Precompiled {
 public:
  // `where` names file and key. Throws base::Error INVALID_MODEL when sizes do not fit. Empty: changes nothing.
  Precompiled(const std::string& charsmap, const std::string& where);

  // As Hugging Face's: a grapheme of up to five bytes is replaced as a whole, longer ones character by character.
  std::string apply(const std::string& text) const;

 private:
  std::optional<std::string_view> replacement(std::string_view text) const;

  std::vector<uint32_t> trie_;
  std::string texts_;  // each ends with a zero byte
};

std::string to_base64(std::string_view bytes);
// Throws base::Error INVALID_MODEL; `where` names file and key.
std::string from_base64(std::string_view text, const std::string& where);

}  // namespace slipway::text
