// A byte trie over the added tokens, see added_tokens.h.
#include "agents/engine/text/added_tokens.h"

#include <algorithm>

#include "agents/engine/text/unicode.h"

namespace slipway::text {

int32_t AddedTokenMatcher::child(int32_t node, unsigned char byte) const {
  const auto& children = nodes_[static_cast<size_t>(node)].children;
  const auto found = std::lower_bound(children.begin(), children.end(), byte,
                                      [](const auto& entry, unsigned char wanted) { return entry.first < wanted; });
  return found != children.end() && found->first == byte ? found->second : -1;
}

void AddedTokenMatcher::add(const std::string& content, const AddedToken* token) {
  if (content.empty()) return;
  first_bytes_[static_cast<unsigned char>(content[0])] = true;
  int32_t node = 0;
  for (const char c : content) {
    const auto byte = static_cast<unsigned char>(c);
    int32_t next = child(node, byte);
    if (next < 0) {
      next = static_cast<int32_t>(nodes_.size());
      nodes_.emplace_back();
      auto& children = nodes_[static_cast<size_t>(node)].children;
      children.insert(std::lower_bound(children.begin(), children.end(), std::make_pair(byte, int32_t{0})),
                      {byte, next});
    }
    node = next;
  }
  nodes_[static_cast<size_t>(node)].token = token;
}

const AddedToken* AddedTokenMatcher::longest_at(std::string_view text, size_t position, size_t& end) const {
  const AddedToken* best = nullptr;
  int32_t node = 0;
  for (size_t index = position; index < text.size(); ++index) {
    node = child(node, static_cast<unsigned char>(text[index]));
    if (node < 0) break;
    if (nodes_[static_cast<size_t>(node)].token != nullptr) {
      best = nodes_[static_cast<size_t>(node)].token;
      end = index + 1;
    }
  }
  return best;
}

std::vector<AddedTokenMatcher::Stretch> AddedTokenMatcher::cut(std::string_view text, bool parse_special) const {
  std::vector<Stretch> out;
  size_t done = 0;
  size_t position = 0;
  if (nodes_.size() > 1) {
    while (position < text.size()) {
      if (!first_bytes_[static_cast<unsigned char>(text[position])]) {
        ++position;
        continue;
      }
      size_t end = 0;
      const AddedToken* token = longest_at(text, position, end);
      if (token == nullptr) {
        ++position;
        continue;
      }
      size_t begin = position;
      position = end;  // what is skipped below stays plain text
      if (token->special && !parse_special) continue;
      if (token->single_word) {
        size_t before = begin;
        if (begin > 0 && is_word_character(previous_code_point(text, before))) continue;
        size_t after = end;
        if (end < text.size() && is_word_character(next_code_point(text, after))) continue;
      }
      while (token->lstrip && begin > done) {
        size_t previous = begin;
        if (!is_unicode_space(previous_code_point(text, previous))) break;
        begin = std::max(previous, done);
      }
      while (token->rstrip && end < text.size()) {
        size_t next = end;
        if (!is_unicode_space(next_code_point(text, next))) break;
        end = next;
      }
      if (begin > done) out.push_back({nullptr, text.substr(done, begin - done)});
      out.push_back({token, text.substr(begin, end - begin)});
      done = end;
      position = end;
    }
  }
  if (done < text.size()) out.push_back({nullptr, text.substr(done)});
  return out;
}

}  // namespace slipway::text
