#include "agents/engine/text/unigram.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "agents/engine/text/sentence_piece.h"
#include "agents/engine/text/unicode.h"
#include "backend/base/error.h"

namespace slipway::text {

namespace {

constexpr double kUnknownPenalty = 10.0;  // below the worst score, as in SentencePiece

uint64_t child_key(int32_t node, unsigned char byte) {
  return static_cast<uint64_t>(static_cast<uint32_t>(node)) << 8U | byte;
}

}  // namespace

Unigram::Unigram(const TokenizerDefinition& definition)
    : nodes_(1), texts_(definition.tokens), byte_fallback_(definition.bpe.byte_fallback) {
  if (definition.scores.size() != texts_.size()) {
    throw base::Error(base::kInvalidModel, definition.origin + ": the unigram vocabulary has not one score per token");
  }
  if (definition.unk_id && *definition.unk_id >= 0 && static_cast<size_t>(*definition.unk_id) < texts_.size())
    unk_ = *definition.unk_id;
  double worst = 0;
  for (size_t id = 0; id < texts_.size(); ++id) {
    const double score = definition.scores[id];
    if (!std::isfinite(score)) {
      throw base::Error(base::kInvalidModel,
                        definition.origin + ": the score of token " + std::to_string(id) + " is no number");
    }
    worst = id == 0 ? score : std::min(worst, score);
    if (texts_[id].empty()) continue;
    by_text_.emplace(texts_[id], static_cast<TokenId>(id));
    int32_t node = 0;
    for (const char c : texts_[id]) {
      const auto byte = static_cast<unsigned char>(c);
      int32_t next = child(node, byte);
      if (next == 0) {
        next = static_cast<int32_t>(nodes_.size());
        nodes_.emplace_back();
        if (node == 0) {
          first_[byte] = next;
        } else {
          children_.emplace(child_key(node, byte), next);
        }
      }
      node = next;
    }
    nodes_[static_cast<size_t>(node)] = {static_cast<TokenId>(id), score};
  }
  unk_score_ = worst - kUnknownPenalty;
  for (size_t byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof(name), "<0x%02X>", static_cast<unsigned>(byte));
    const auto found = by_text_.find(name);
    byte_ids_[byte] = found == by_text_.end() ? -1 : found->second;
  }
  spaces_begin_tokens_ = spaces_begin_all(texts_) && by_text_.contains(kSpaceMark);
}

int32_t Unigram::child(int32_t node, unsigned char byte) const {
  if (node == 0) return first_[byte];
  const auto found = children_.find(child_key(node, byte));
  return found == children_.end() ? 0 : found->second;
}

void Unigram::encode(std::string_view piece, std::vector<TokenId>& out) const {
  if (piece.empty()) return;
  struct Best {  // of the ways to cut the text up to here
    double score = 0;
    size_t begin = SIZE_MAX;  // of the last token; SIZE_MAX: no way known yet
    TokenId id = -1;
  };
  std::vector<Best> best(piece.size() + 1);
  for (size_t position = 0; position < piece.size();) {
    const double score = best[position].score;
    const size_t length = std::min(utf8_length(static_cast<unsigned char>(piece[position])), piece.size() - position);
    const auto offer = [&](size_t end, double candidate, TokenId id) {
      Best& target = best[end];
      if (target.begin == SIZE_MAX || candidate > target.score) target = {candidate, position, id};
    };
    bool has_single = false;
    int32_t node = 0;
    for (size_t end = position; end < piece.size();) {
      node = child(node, static_cast<unsigned char>(piece[end++]));
      if (node == 0) break;
      const Node& found = nodes_[static_cast<size_t>(node)];
      if (found.id < 0) continue;
      offer(end, score + found.score, found.id);
      has_single = has_single || end - position == length;
    }
    if (!has_single) offer(position + length, score + unk_score_, unk_);
    position += length;
  }
  // Backwards, with neighbouring unknown characters as one.
  struct Part {
    size_t begin, end;
    TokenId id;
  };
  std::vector<Part> parts;
  for (size_t end = piece.size(); end > 0; end = best[end].begin) {
    const Best& step = best[end];
    if (step.id == unk_ && !parts.empty() && parts.back().id == unk_ && parts.back().begin == end) {
      parts.back().begin = step.begin;
    } else {
      parts.push_back({step.begin, end, step.id});
    }
  }
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (part->id != unk_) {
      out.push_back(part->id);
      continue;
    }
    const std::string_view text = piece.substr(part->begin, part->end - part->begin);
    const auto whole = by_text_.find(text);
    const auto has_byte = [&](char c) { return byte_ids_[static_cast<unsigned char>(c)] >= 0; };
    if (whole != by_text_.end()) {
      out.push_back(whole->second);
    } else if (byte_fallback_ && std::all_of(text.begin(), text.end(), has_byte)) {
      for (const char c : text) out.push_back(byte_ids_[static_cast<unsigned char>(c)]);
    } else if (unk_ >= 0) {
      out.push_back(unk_);
    }
  }
}

}  // namespace slipway::text
