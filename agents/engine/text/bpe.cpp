// Byte-pair merges, see bpe.h.
#include "agents/engine/text/bpe.h"

#include <algorithm>
#include <cstdio>
#include <queue>

#include "agents/engine/text/sentence_piece.h"
#include "agents/engine/text/unicode.h"
#include "backend/base/error.h"

namespace slipway::text {

namespace {

constexpr uint64_t kEmpty = ~uint64_t{0};
constexpr size_t kShortWord = 32;  // up to this, looking at every pair beats a heap

uint64_t pair_key(TokenId left, TokenId right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32U) | static_cast<uint32_t>(right);
}

uint64_t mix(uint64_t key) {  // the finalizer of MurmurHash3
  key ^= key >> 33U;
  key *= 0xff51afd7ed558ccdULL;
  key ^= key >> 33U;
  key *= 0xc4ceb9fe1a85ec53ULL;
  return key ^ (key >> 33U);
}

}  // namespace

Bpe::Bpe(const TokenizerDefinition& definition, Alphabet alphabet) : alphabet_(alphabet), options_(definition.bpe) {
  byte_ids_.fill(-1);
  const auto& tokens = definition.tokens;
  std::unordered_map<std::string_view, TokenId> ids;
  ids.reserve(tokens.size());
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (!tokens[id].empty()) ids.emplace(tokens[id], static_cast<TokenId>(id));
  }

  for (const auto& [token, id] : ids) {
    size_t position = 0;
    const char32_t character = next_code_point(token, position);
    if (position != token.size()) continue;
    if (alphabet_ == Alphabet::kBytes) {
      const int byte = byte_of_character(character);
      if (byte >= 0) byte_ids_[static_cast<size_t>(byte)] = id;
    } else {
      character_ids_.emplace(character, id);
    }
  }
  if (alphabet_ == Alphabet::kCharacters && options_.byte_fallback) {
    for (size_t byte = 0; byte < 256; ++byte) {
      char name[8];
      std::snprintf(name, sizeof(name), "<0x%02X>", static_cast<unsigned>(byte));
      const auto found = ids.find(name);
      if (found != ids.end()) byte_ids_[byte] = found->second;
    }
  }
  spaces_begin_tokens_ = alphabet_ == Alphabet::kCharacters && spaces_begin_all(tokens) && ids.contains(kSpaceMark);
  if (options_.unk_token) {
    const auto found = ids.find(*options_.unk_token);
    if (found == ids.end()) {
      throw base::Error(base::kInvalidModel,
                        definition.origin + ": model.unk_token \"" + *options_.unk_token + "\" is not in model.vocab");
    }
    unk_ = found->second;
  }
  if (options_.ignore_merges) {
    for (const auto& [token, id] : ids) {
      if (alphabet_ == Alphabet::kCharacters) {
        whole_pieces_.emplace(token, id);
      } else if (in_byte_alphabet(token)) {
        whole_pieces_.emplace(alphabet_to_bytes(token), id);
      }
    }
  }

  size_t slots = 16;
  while (slots < definition.merges.size() * 2) slots *= 2;
  merges_.assign(slots, Merge{kEmpty, 0, 0});
  std::string joined;
  for (size_t rank = 0; rank < definition.merges.size(); ++rank) {
    const auto [left, right] = definition.merges[rank];
    joined = tokens[static_cast<size_t>(left)] + tokens[static_cast<size_t>(right)];
    const auto result = ids.find(joined);
    if (result == ids.end()) {
      throw base::Error(base::kInvalidModel, definition.origin + ": model.merges[" + std::to_string(rank) +
                                                 "] makes \"" + joined + "\", which is not in the vocabulary");
    }
    insert_merge(left, right, static_cast<int32_t>(rank), result->second);
  }
}

void Bpe::insert_merge(TokenId left, TokenId right, int32_t rank, TokenId result) {
  const uint64_t key = pair_key(left, right);
  const size_t mask = merges_.size() - 1;
  for (size_t slot = mix(key) & mask;; slot = (slot + 1) & mask) {
    if (merges_[slot].key != kEmpty && merges_[slot].key != key) continue;
    merges_[slot] = {key, rank, result};  // a merge given twice has its later rank, as in Hugging Face's table
    return;
  }
}

const Bpe::Merge* Bpe::find_merge(TokenId left, TokenId right) const {
  const uint64_t key = pair_key(left, right);
  const size_t mask = merges_.size() - 1;
  for (size_t slot = mix(key) & mask;; slot = (slot + 1) & mask) {
    if (merges_[slot].key == key) return &merges_[slot];
    if (merges_[slot].key == kEmpty) return nullptr;
  }
}

// Gives the ids of single characters or bytes to `push`.
template <typename Push>
void Bpe::initial_symbols(std::string_view piece, const Push& push) const {
  bool pending_unk = false;
  const auto flush_unk = [&] {
    if (pending_unk) push(unk_);
    pending_unk = false;
  };
  const auto unknown = [&] {
    if (unk_ < 0) return;  // without an unknown token the character is dropped
    if (!options_.fuse_unk) flush_unk();
    pending_unk = true;
  };
  if (alphabet_ == Alphabet::kBytes) {
    for (const char byte : piece) {
      const TokenId id = byte_ids_[static_cast<unsigned char>(byte)];
      if (id < 0) {
        unknown();
      } else {
        flush_unk();
        push(id);
      }
    }
    flush_unk();
    return;
  }
  for (size_t position = 0; position < piece.size();) {
    const size_t begin = position;
    const auto found = character_ids_.find(next_code_point(piece, position));
    if (found != character_ids_.end()) {
      flush_unk();
      push(found->second);
      continue;
    }
    const std::string_view bytes = piece.substr(begin, position - begin);
    const auto fallback = [&](char byte) { return byte_ids_[static_cast<unsigned char>(byte)]; };
    if (options_.byte_fallback && std::all_of(bytes.begin(), bytes.end(), [&](char b) { return fallback(b) >= 0; })) {
      flush_unk();
      for (const char byte : bytes) push(fallback(byte));
    } else {
      unknown();
    }
  }
  flush_unk();
}

// Merges in place and returns how many symbols remain. Keeps the merge of each neighbouring pair, so that after one
// merge only two are looked up.
size_t Bpe::merge_short(std::span<TokenId> symbols) const {
  std::array<const Merge*, kShortWord> merges{};
  size_t count = symbols.size();
  for (size_t index = 0; index + 1 < count; ++index) merges[index] = find_merge(symbols[index], symbols[index + 1]);
  while (count > 1) {
    size_t best = count;
    int32_t best_rank = INT32_MAX;
    for (size_t index = 0; index + 1 < count; ++index) {
      if (merges[index] != nullptr && merges[index]->rank < best_rank) {
        best_rank = merges[index]->rank;
        best = index;
      }
    }
    if (best == count) break;
    symbols[best] = merges[best]->result;
    for (size_t index = best + 1; index + 1 < count; ++index) {
      symbols[index] = symbols[index + 1];
      merges[index] = merges[index + 1];
    }
    --count;
    merges[best] = best + 1 < count ? find_merge(symbols[best], symbols[best + 1]) : nullptr;
    if (best > 0) merges[best - 1] = find_merge(symbols[best - 1], symbols[best]);
  }
  return count;
}

void Bpe::merge_long(std::vector<TokenId>& symbols) const {
  struct Node {
    TokenId id;  // -1 once merged away
    int32_t previous;
    int32_t next;
  };
  struct Candidate {
    int32_t rank;
    int32_t index;  // of the left node
    TokenId left;
    TokenId right;
    TokenId result;
    bool operator>(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : index > other.index;
    }
  };
  std::vector<Node> nodes(symbols.size());
  for (size_t index = 0; index < symbols.size(); ++index) {
    const auto position = static_cast<int32_t>(index);
    nodes[index] = {symbols[index], position - 1, index + 1 < symbols.size() ? position + 1 : -1};
  }
  std::vector<Candidate> storage;
  storage.reserve(symbols.size());
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue({}, std::move(storage));
  const auto consider = [&](int32_t left) {
    if (left < 0) return;
    const int32_t right = nodes[static_cast<size_t>(left)].next;
    if (right < 0) return;
    const TokenId left_id = nodes[static_cast<size_t>(left)].id;
    const TokenId right_id = nodes[static_cast<size_t>(right)].id;
    const Merge* merge = find_merge(left_id, right_id);
    if (merge != nullptr) queue.push({merge->rank, left, left_id, right_id, merge->result});
  };
  for (size_t index = 0; index + 1 < nodes.size(); ++index) consider(static_cast<int32_t>(index));
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Node& left = nodes[static_cast<size_t>(top.index)];
    if (left.id != top.left || left.next < 0) continue;
    Node& right = nodes[static_cast<size_t>(left.next)];
    if (right.id != top.right) continue;
    left.id = top.result;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) nodes[static_cast<size_t>(left.next)].previous = top.index;
    consider(left.previous);
    consider(top.index);
  }
  symbols.clear();
  for (const Node& node : nodes) {
    if (node.id >= 0) symbols.push_back(node.id);
  }
}

void Bpe::encode(std::string_view piece, std::vector<TokenId>& out) const {
  if (piece.empty()) return;
  if (options_.ignore_merges) {
    const auto found = whole_pieces_.find(piece);
    if (found != whole_pieces_.end()) {
      out.push_back(found->second);
      return;
    }
  }
  if (piece.size() <= kShortWord / 2) {  // a character without a token of its own has one per byte, or one for all
    std::array<TokenId, kShortWord> symbols;
    size_t count = 0;
    initial_symbols(piece, [&](TokenId id) { symbols[count++] = id; });
    count = merge_short({symbols.data(), count});
    out.insert(out.end(), symbols.begin(), symbols.begin() + static_cast<std::ptrdiff_t>(count));
    return;
  }
  std::vector<TokenId> symbols;
  symbols.reserve(piece.size());
  initial_symbols(piece, [&](TokenId id) { symbols.push_back(id); });
  if (symbols.size() <= kShortWord) {
    symbols.resize(merge_short(symbols));
  } else {
    merge_long(symbols);
  }
  out.insert(out.end(), symbols.begin(), symbols.end());
}

}  // namespace slipway::text
