// Finds added tokens (<|im_start|> and the like) in text, as Hugging Face's AddedVocabulary. Used by pipeline.cpp.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "agents/engine/text/definition.h"

namespace slipway::text {

// A set of texts; at every place the longest one wins. Immutable. Any thread.
class AddedTokenMatcher {
 public:
  AddedTokenMatcher() = default;
  // Looks for `content` and reports `token`, which must outlive this.
  void add(const std::string& content, const AddedToken* token);

  struct Stretch {
    const AddedToken* token = nullptr;  // nullptr: plain text
    std::string_view text;
  };
  // Cuts `text` into added tokens and what lies between. Without parse_special, special tokens count as plain text.
  std::vector<Stretch> cut(std::string_view text, bool parse_special) const;

 private:
  struct Node {
    std::vector<std::pair<unsigned char, int32_t>> children;  // sorted by byte
    const AddedToken* token = nullptr;
  };
  int32_t child(int32_t node, unsigned char byte) const;
  const AddedToken* longest_at(std::string_view text, size_t position, size_t& end) const;

  std::vector<Node> nodes_ = {Node{}};
  std::array<bool, 256> first_bytes_{};  // with which a token begins
};

}  // namespace slipway::text
