#include "agents/engine/text/sentence_piece.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>

#include "agents/engine/text/precompiled.h"
#include "agents/engine/text/unicode.h"
#include "backend/base/error.h"

namespace slipway::text {

namespace {

using json = nlohmann::json;

// SentencePiece joins the neighbours whose joint token has the best score, so every way of cutting a token in two is a
// merge of the rank of that score (as Hugging Face's converter of slow tokenizers does).
void merges_from_scores(TokenizerDefinition& definition, std::span<const int64_t> types,
                        std::span<const double> scores) {
  struct Candidate {
    double score;
    TokenId left;
    TokenId right;
  };
  std::unordered_map<std::string_view, TokenId> ids;
  for (size_t id = 0; id < definition.tokens.size(); ++id) {
    if (!definition.tokens[id].empty()) ids.emplace(definition.tokens[id], static_cast<TokenId>(id));
  }
  std::vector<Candidate> candidates;
  constexpr size_t kMaxTokenBytes = 1024;
  for (size_t id = 0; id < definition.tokens.size(); ++id) {
    const std::string& token = definition.tokens[id];
    if ((types[id] != kNormal && types[id] != kUserDefined) || token.size() > kMaxTokenBytes) continue;
    for (size_t cut = 0; cut < token.size();) {
      next_code_point(token, cut);
      if (cut >= token.size()) break;
      const auto left = ids.find(std::string_view(token).substr(0, cut));
      const auto right = ids.find(std::string_view(token).substr(cut));
      if (left != ids.end() && right != ids.end()) candidates.push_back({scores[id], left->second, right->second});
    }
  }
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.score > b.score; });
  for (const Candidate& candidate : candidates) definition.merges.emplace_back(candidate.left, candidate.right);
}

}  // namespace

bool spaces_begin_all(std::span<const std::string> tokens) {
  for (const std::string& token : tokens) {
    size_t position = 0;
    while (token.compare(position, 3, kSpaceMark) == 0) position += 3;
    if (position < token.size() && token.find(kSpaceMark, position) != std::string::npos) return false;
  }
  return true;
}

void add_special_pieces(TokenizerDefinition& definition, std::span<const int64_t> types) {
  for (size_t id = 0; id < definition.tokens.size(); ++id) {
    const int64_t type = types[id];
    if (definition.tokens[id].empty() || (type != kControl && type != kUserDefined && type != kUnknown)) continue;
    AddedToken token;
    token.id = static_cast<TokenId>(id);
    token.content = definition.tokens[id];
    token.special = type != kUserDefined;
    definition.added_tokens.push_back(std::move(token));
  }
}

void describe_sentence_piece(TokenizerDefinition& definition, std::span<const int64_t> types,
                             std::span<const double> scores, const SentencePieceOptions& options,
                             bool with_scores_as_merges) {
  json steps = json::array();
  if (!options.charsmap.empty())
    steps.push_back({{"type", "Precompiled"}, {"precompiled_charsmap", to_base64(options.charsmap)}});
  if (options.remove_extra_whitespaces) {
    steps.push_back({{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}});
    steps.push_back({{"type", "Replace"}, {"pattern", {{"Regex", " {2,}"}}}, {"content", " "}});
  }
  if (options.add_dummy_prefix) steps.push_back({{"type", "Prepend"}, {"prepend", kSpaceMark}});
  steps.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kSpaceMark}});
  definition.normalizer = steps.size() == 1 ? steps[0] : json{{"type", "Sequence"}, {"normalizers", steps}};

  json decoders = json::array({{{"type", "Replace"}, {"pattern", {{"String", kSpaceMark}}}, {"content", " "}},
                               {{"type", "ByteFallback"}},
                               {{"type", "Fuse"}}});
  if (options.add_dummy_prefix) decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  definition.decoder = {{"type", "Sequence"}, {"decoders", decoders}};

  definition.bpe.fuse_unk = true;
  definition.bpe.byte_fallback = std::find(types.begin(), types.end(), kByte) != types.end();
  const auto unknown = std::find(types.begin(), types.end(), kUnknown);
  const bool known = unknown != types.end() && !definition.tokens[static_cast<size_t>(unknown - types.begin())].empty();
  if (known) definition.bpe.unk_token = definition.tokens[static_cast<size_t>(unknown - types.begin())];
  if (options.unigram) {
    definition.model = ModelType::kUnigram;
    definition.scores.assign(scores.begin(), scores.end());
    if (known) definition.unk_id = static_cast<TokenId>(unknown - types.begin());
  } else if (with_scores_as_merges) {
    merges_from_scores(definition, types, scores);
  }
}

nlohmann::json begin_and_end(const TokenizerDefinition& definition, TokenId bos, TokenId eos) {
  json single = json::array();
  json special = json::object();
  const auto put = [&](TokenId id) {
    if (id < 0) return;
    const std::string& text = definition.tokens[static_cast<size_t>(id)];
    single.push_back({{"SpecialToken", {{"id", text}, {"type_id", 0}}}});
    special[text] = {{"id", text}, {"ids", {id}}, {"tokens", {text}}};
  };
  put(bos);
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  put(eos);
  json pair = single;
  for (const json& item : single) {
    json second = item;
    auto& inner = second.begin().value();
    inner["type_id"] = 1;
    if (second.contains("Sequence")) inner["id"] = "B";
    pair.push_back(second);
  }
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special}};
}

}  // namespace slipway::text
